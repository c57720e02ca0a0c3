#pragma once

// Pages of lists: by which sort, and after which row. A client gets a row's place as an opaque text that
// holds the sort and the filters it was made with, and gives it back for the next page.

#include <optional>
#include <string>
#include <string_view>

namespace sync_engine {

struct PageOrder {
    std::string sort;  // name of the sort
    bool descending = false;
    std::string after;  // key of the row before the page, a JSON array; empty: the first page
};

// `filters`: what the list was restricted by, in any text form; `key`: JSON.
std::string make_page_cursor(const PageOrder& order, std::string_view filters, std::string_view key);

// Sets order.after. False where the text is not a cursor, or is that of another sort or other filters.
bool read_page_cursor(std::string_view cursor, std::string_view filters, PageOrder& order);

}  // namespace sync_engine
