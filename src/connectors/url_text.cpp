#include "connectors/url_text.hpp"

#include <algorithm>

#include "connectors/ascii.hpp"
#include "connectors/template.hpp"

namespace sync_engine {
namespace {

int hex_digit(char c) {
    const char l = ascii_lower(c);
    return l >= '0' && l <= '9' ? l - '0' : l >= 'a' && l <= 'f' ? l - 'a' + 10 : -1;
}

bool has_scheme(std::string_view text) {
    const std::size_t end = text.find_first_of(":/?#");
    return end != std::string_view::npos && end > 0 && text[end] == ':';
}

// Where the path of an absolute URL begins.
std::size_t path_start(std::string_view url) {
    const std::size_t scheme = url.find("://");
    return std::min(url.find_first_of("/?#", scheme == std::string_view::npos ? 0 : scheme + 3), url.size());
}

std::string joined(std::string_view base, std::string_view reference) {
    if (has_scheme(reference)) {
        return std::string(reference);
    }
    if (reference.starts_with("//")) {
        return std::string(base.substr(0, base.find("://") + 1)).append(reference);
    }
    const std::size_t start = path_start(base);
    const std::string_view path = base.substr(start, base.find('?', start) - start);
    if (reference.starts_with('/')) {
        return std::string(base.substr(0, start)).append(reference);
    }
    if (reference.empty()) {
        return std::string(base);
    }
    if (reference.starts_with('?')) {
        return std::string(base.substr(0, start)).append(path).append(reference);
    }
    const std::size_t slash = path.rfind('/');
    const std::string_view folder = slash == std::string_view::npos ? "/" : path.substr(0, slash + 1);
    return std::string(base.substr(0, start)).append(folder).append(reference);
}

// Calls `visit` with each "name=value" of the URL's query.
template <typename Visit>
void each_parameter(std::string_view url, Visit visit) {
    const std::size_t question = url.find('?');
    if (question == std::string_view::npos) {
        return;
    }
    std::string_view query = url.substr(question + 1);
    query = query.substr(0, query.find('#'));
    while (!query.empty()) {
        const std::size_t end = std::min(query.find('&'), query.size());
        if (end > 0) {
            visit(query.substr(0, end));
        }
        query.remove_prefix(std::min(end + 1, query.size()));
    }
}

std::string parameter_name(std::string_view parameter) {
    return percent_decoded(parameter.substr(0, parameter.find('=')));
}

}  // namespace

std::optional<std::string> resolve_reference(std::string_view base, std::string_view reference) {
    const std::string_view whole = base.substr(0, base.find('#'));
    std::string url = joined(whole, reference.substr(0, reference.find('#')));
    return parse_url(url) ? std::optional(std::move(url)) : std::nullopt;
}

std::string without_parameters(std::string_view url, std::span<const std::string> names) {
    std::string out(url.substr(0, url.find_first_of("?#")));
    char separator = '?';
    each_parameter(url, [&](std::string_view parameter) {
        if (std::ranges::find(names, parameter_name(parameter)) == names.end()) {
            (out += separator) += parameter;
            separator = '&';
        }
    });
    return out;
}

std::string with_parameter(std::string_view url, const std::string& name, std::string_view value) {
    std::string out = without_parameters(url, std::span(&name, 1));
    out += out.find('?') == std::string::npos ? '?' : '&';
    return out + percent_encoded(name) + "=" + percent_encoded(value);
}

std::vector<std::string> parameter_values(std::string_view url, std::string_view name) {
    std::vector<std::string> values;
    each_parameter(url, [&](std::string_view parameter) {
        if (const std::size_t equals = parameter.find('=');
            equals != std::string_view::npos && parameter_name(parameter) == name) {
            values.push_back(percent_decoded(parameter.substr(equals + 1)));
        }
    });
    return values;
}

std::string percent_decoded(std::string_view text) {
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const bool escape = text[i] == '%' && i + 2 < text.size() && hex_digit(text[i + 1]) >= 0 &&
                            hex_digit(text[i + 2]) >= 0;
        if (escape) {
            out.push_back(static_cast<char>(hex_digit(text[i + 1]) * 16 + hex_digit(text[i + 2])));
            i += 2;
        } else {
            out.push_back(text[i] == '+' ? ' ' : text[i]);
        }
    }
    return out;
}

bool is_allowed_host(const Url& url, std::span<const std::string> hosts) {
    const std::string origin = url.origin();
    const std::string_view host_and_port = std::string_view(origin).substr(url.scheme.size() + 3);
    return std::ranges::any_of(hosts, [&](const std::string& entry) {
        return same_ignoring_case(entry, url.host) || same_ignoring_case(entry, host_and_port) ||
               same_ignoring_case(entry, origin);
    });
}

}  // namespace sync_engine
