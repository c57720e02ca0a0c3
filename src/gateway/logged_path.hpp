#pragma once

#include <string>
#include <string_view>

namespace sync_engine {

// A path as it may stand in the log: without what lets its reader in. The token of /hooks/{provider}/{token}
// and whatever looks like a token elsewhere becomes "***", however it is percent-encoded; what is very long
// is cut.
std::string logged_path(std::string_view path);

}  // namespace sync_engine
