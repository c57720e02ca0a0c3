#include "gateway/logged_path.hpp"

#include <vector>

#include "connectors/ascii.hpp"
#include "connectors/url_text.hpp"

namespace sync_engine {

namespace {

constexpr std::size_t kLongest = 1024;
constexpr std::string_view kMask = "***";

bool looks_like_token(std::string_view segment) {
    return segment.starts_with("whk_") || segment.starts_with("syn_") || segment.starts_with("whsec_");
}

}  // namespace

std::string logged_path(std::string_view path) {
    std::string out;
    std::size_t named = 0;  // segments that are not empty, so that //hooks//x//token is masked as well
    bool is_hook = false;
    while (!path.empty()) {
        const std::size_t slash = path.find('/');
        const std::string_view segment = path.substr(0, slash);
        const std::string decoded = percent_decoded(segment);
        named += segment.empty() ? 0 : 1;
        is_hook = is_hook || (named == 1 && same_ignoring_case(decoded, "hooks"));
        const bool is_secret = !segment.empty() && ((is_hook && named >= 3) || looks_like_token(decoded));
        out += is_secret ? kMask : segment;
        if (slash == std::string_view::npos) {
            break;
        }
        out += '/';
        path.remove_prefix(slash + 1);
    }
    if (out.size() > kLongest) {
        out.resize(kLongest);
        out += "...";
    }
    return out;
}

}  // namespace sync_engine
