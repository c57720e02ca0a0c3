#pragma once

// Values in PostgreSQL's text format: reading answers, writing array parameters. Readers throw
// std::runtime_error where an answer does not have the shape that the protocol promises.

#include <charconv>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include <libpq-fe.h>

namespace sync_engine {

// One row of a result, which is borrowed.
class Row {
  public:
    Row(const PGresult* result, int row) : result_(result), row_(row) {}

    bool is_null(int column) const { return PQgetisnull(result_, row_, column) == 1; }

    std::string text(int column) const {
        return {PQgetvalue(result_, row_, column),
                static_cast<std::size_t>(PQgetlength(result_, row_, column))};
    }

    std::int64_t integer(int column) const { return number<std::int64_t>(column); }
    double real(int column) const { return number<double>(column); }
    bool boolean(int column) const { return text(column) == "t"; }

  private:
    template <class Number>
    Number number(int column) const {
        const std::string value = text(column);
        Number parsed{};
        const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), parsed);
        if (error != std::errc() || end != value.data() + value.size()) {
            throw std::runtime_error(std::string("unexpected answer from the database in column ") +
                                     PQfname(result_, column));
        }
        return parsed;
    }

    const PGresult* result_;
    int row_;
};

inline Row only_row(const PGresult* result, int columns) {
    if (PQntuples(result) != 1 || PQnfields(result) != columns) {
        throw std::runtime_error("unexpected answer from the database");
    }
    return {result, 0};
}

template <class Item, class ToText>
std::string array_literal(const std::vector<Item>& items, ToText to_text) {
    std::string out = "{";
    for (const Item& item : items) {
        out += out.size() > 1 ? "," : "";
        out += to_text(item);
    }
    return out + "}";
}

inline std::string id_array(const std::vector<std::int64_t>& ids) {
    return array_literal(ids, [](std::int64_t id) { return std::to_string(id); });
}

}  // namespace sync_engine
