#include "process/file_limit.hpp"

#include <sys/resource.h>

namespace sync_engine {

void raise_file_limit(Logger& log, std::size_t connections) {
    rlimit limit{};
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return;
    }
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    getrlimit(RLIMIT_NOFILE, &limit);
    constexpr rlim_t kOthers = 64;
    if (limit.rlim_cur < static_cast<rlim_t>(connections) + kOthers) {
        log.warn("the limit of open files is low for so many connections",
                 {{"limit", static_cast<std::int64_t>(limit.rlim_cur)},
                  {"connections", static_cast<std::int64_t>(connections)}});
    }
}

}  // namespace sync_engine
