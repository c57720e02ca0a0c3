#pragma once

#include <array>
#include <string_view>

#include <rapidjson/document.h>

namespace sync_engine {

inline constexpr std::array<std::string_view, 2> kPresetNames = {"github-issues", "rest"};

// Puts the configuration over the preset it names, if it names a known one. RFC 7396, except that a null in
// `config` is kept out of the result instead of standing in it.
void apply_preset(rapidjson::Document& config);

// RFC 7396: `patch` over `target`, whose memory comes from `allocator`.
void merge_patch(rapidjson::Value& target, const rapidjson::Value& patch,
                 rapidjson::Document::AllocatorType& allocator);

}  // namespace sync_engine
