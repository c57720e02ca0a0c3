#include "connectors/presets.hpp"

#include <string>

#include "connectors/json_text.hpp"

namespace sync_engine {
namespace {

// The newest first: what changes while a run pages moves to the front, so that rows only shift to later pages
// and come twice at worst; in ascending order they would shift to pages already read and be lost. `since` is
// inclusive.
constexpr std::string_view kGithubIssues = R"({
  "base_url": "https://api.github.com",
  "path": "/repos/{{config.owner}}/{{config.repo}}/issues",
  "query": {"state": "all", "sort": "updated", "direction": "desc", "per_page": 100,
            "since": "{{cursor.watermark}}"},
  "headers": {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"},
  "records": "",
  "mapping": {"kind": "issue", "occurred_at": "/updated_at",
              "dedupe_key": "{{record.id}}@{{record.updated_at}}"},
  "cursor": {"max_of": "/updated_at"},
  "paging": {"type": "link_header"}
})";

constexpr std::string_view kRest = R"({"headers": {"Accept": "application/json"}, "records": ""})";

rapidjson::Value text_value(std::string_view text, rapidjson::Document::AllocatorType& allocator) {
    return {text.data(), static_cast<rapidjson::SizeType>(text.size()), allocator};
}

// "repo": "owner/name" stands for both keys.
void split_repository(rapidjson::Document& config) {
    const rapidjson::Value* repo = member(config, "repo");
    if (repo == nullptr || !is_string(*repo) || member(config, "owner") != nullptr) {
        return;
    }
    const std::string text(string_view_of(*repo));
    const std::size_t slash = text.find('/');
    if (slash == std::string::npos || text.find('/', slash + 1) != std::string::npos) {
        return;
    }
    auto& allocator = config.GetAllocator();
    config.RemoveMember("owner");
    config["repo"] = text_value(std::string_view(text).substr(slash + 1), allocator);
    config.AddMember("owner", text_value(std::string_view(text).substr(0, slash), allocator), allocator);
}

}  // namespace

void merge_patch(rapidjson::Value& target, const rapidjson::Value& patch,
                 rapidjson::Document::AllocatorType& allocator) {
    if (!patch.IsObject()) {
        target.CopyFrom(patch, allocator);
        return;
    }
    if (!target.IsObject()) {
        target.SetObject();
    }
    for (const auto& m : patch.GetObject()) {
        auto found = target.FindMember(m.name);
        if (m.value.IsNull()) {
            if (found != target.MemberEnd()) {
                target.EraseMember(found);
            }
            continue;
        }
        if (found == target.MemberEnd()) {
            target.AddMember(rapidjson::Value(m.name, allocator), rapidjson::Value(), allocator);
            found = target.FindMember(m.name);
        }
        merge_patch(found->value, m.value, allocator);
    }
}

void apply_preset(rapidjson::Document& config) {
    const rapidjson::Value* name = member(config, "preset");
    if (name == nullptr || !is_string(*name)) {
        return;
    }
    const bool github = string_view_of(*name) == kPresetNames[0];
    if (!github && string_view_of(*name) != kPresetNames[1]) {
        return;
    }
    rapidjson::Document merged;
    std::string error;
    parse_json(github ? kGithubIssues : kRest, merged, error);
    merge_patch(merged, config, merged.GetAllocator());
    config.Swap(merged);
    if (github) {
        split_repository(config);
    }
}

}  // namespace sync_engine
