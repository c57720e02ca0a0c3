#include "gateway/http_message.hpp"

#include <algorithm>

namespace sync_engine {

const std::string* HttpRequest::header(std::string_view lower_case_name) const {
    const auto found = std::find_if(headers.begin(), headers.end(),
                                    [&](const auto& header) { return header.first == lower_case_name; });
    return found == headers.end() ? nullptr : &found->second;
}

}  // namespace sync_engine
