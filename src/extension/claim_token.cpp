// RFC 9562, section 5.4: 48 bits, the version, 12 bits, the variant, 62 bits.
#include "extension/claim_token.hpp"

extern "C" {
#include "storage/bufpage.h"
#include "storage/off.h"
}

namespace sync_engine {
namespace {

constexpr int kOffsetBits = 9;
constexpr int kPlaceBits = 32 + kOffsetBits;
constexpr std::uint64_t kVersion = std::uint64_t{4} << 12;
constexpr std::uint64_t kVersionMask = std::uint64_t{0xf} << 12;
constexpr std::uint64_t kVariant = std::uint64_t{2} << 62;
constexpr std::uint64_t kVariantMask = std::uint64_t{3} << 62;
// The connection's place fills the top of the first half; the state's comes behind the variant in the second.
constexpr int kConnectionShift = 64 - kPlaceBits;
constexpr int kStateShift = 62 - kPlaceBits;
constexpr std::uint64_t kPlaceMask = (std::uint64_t{1} << kPlaceBits) - 1;
static_assert(kConnectionShift >= 16, "does not reach the version");

// An offset that takes more bits, on pages above 8 kB, is cut: then the hint is a wrong one.
std::uint64_t bits_of(const ItemPointerData& place) {
    return std::uint64_t{ItemPointerGetBlockNumberNoCheck(&place)} << kOffsetBits |
           (ItemPointerGetOffsetNumberNoCheck(&place) & ((1U << kOffsetBits) - 1));
}

ItemPointerData place_of(std::uint64_t bits) {
    ItemPointerData place;
    ItemPointerSet(&place, static_cast<BlockNumber>((bits & kPlaceMask) >> kOffsetBits),
                   static_cast<OffsetNumber>(bits & ((1U << kOffsetBits) - 1)));
    return place;
}

std::uint64_t half(const unsigned char* bytes) {
    std::uint64_t value = 0;
    for (int i = 0; i < 8; ++i) {
        value = value << 8 | bytes[i];
    }
    return value;
}

void put_half(unsigned char* bytes, std::uint64_t value) {
    for (int i = 7; i >= 0; --i) {
        bytes[i] = static_cast<unsigned char>(value & 0xff);
        value >>= 8;
    }
}

}  // namespace

pg_uuid_t make_claim_token(const ConnectionPlaces& places) {
    constexpr std::uint64_t kConnectionMask = kPlaceMask << kConnectionShift;
    constexpr std::uint64_t kStateMask = kPlaceMask << kStateShift;
    const std::uint64_t first = (random_bits() & ~(kConnectionMask | kVersionMask)) |
                                bits_of(places.connection) << kConnectionShift | kVersion;
    const std::uint64_t second =
        (random_bits() & ~(kStateMask | kVariantMask)) | bits_of(places.state) << kStateShift | kVariant;
    pg_uuid_t token;
    put_half(token.data, first);
    put_half(token.data + 8, second);
    return token;
}

ConnectionPlaces places_in(const pg_uuid_t& token) {
    return {place_of(half(token.data) >> kConnectionShift), place_of(half(token.data + 8) >> kStateShift)};
}

}  // namespace sync_engine
