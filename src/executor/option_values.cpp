#include "executor/option_values.hpp"

#include "executor/address_policy.hpp"

namespace sync_engine {

OptionProblem add_addresses(std::vector<std::string>& target, std::string_view text) {
    for (std::string& word : option_words(text)) {
        if (!AddressPolicy().allow(word)) {
            return "'" + word + "' is not loopback, private, all, an address or a block like 10.0.0.0/8";
        }
        target.push_back(std::move(word));
    }
    return {};
}

}  // namespace sync_engine
