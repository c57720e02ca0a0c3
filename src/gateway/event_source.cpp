#include "gateway/event_source.hpp"

namespace sync_engine {

EventSource::~EventSource() = default;

}  // namespace sync_engine
