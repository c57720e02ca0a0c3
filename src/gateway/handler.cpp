#include "gateway/handler.hpp"

namespace sync_engine {

Handler::~Handler() = default;

}  // namespace sync_engine
