#include "gateway/api/operation_sql.hpp"

#include <algorithm>
#include <stdexcept>

#include "connectors/ascii.hpp"

namespace sync_engine {

namespace {

constexpr std::string_view kDefine = "-- define ";
constexpr std::string_view kOperation = "-- operation ";
constexpr std::string_view kSort = "-- sort ";
constexpr std::string_view kWith = "-- with ";
constexpr std::string_view kIf = "--? ";

bool starts_with(std::string_view text, std::string_view prefix) {
    return text.substr(0, prefix.size()) == prefix;
}

void replace_all(std::string& text, std::string_view what, std::string_view by) {
    for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + by.size())) {
        text.replace(at, what.size(), by);
    }
}

// Puts the text in for the name; within a line that depends on a parameter it becomes one line.
void put_in(std::string& statement, const std::string& name, const std::string& text) {
    const std::string variable = "{{" + name + "}}";
    std::string one_line = text;
    std::replace(one_line.begin(), one_line.end(), '\n', ' ');
    for (std::size_t at = statement.find(variable); at != std::string::npos;
         at = statement.find(variable, at)) {
        const std::size_t line = statement.rfind('\n', at) + 1;
        const bool conditional = starts_with(std::string_view(statement).substr(line), kIf);
        statement.replace(at, variable.size(), conditional ? one_line : text);
    }
}

// "a.b::text, COALESCE(x, y)::bigint": commas within parentheses belong to an expression.
std::vector<SortKey> read_keys(std::string_view text) {
    std::vector<SortKey> keys;
    int depth = 0;
    std::string part;
    const auto take = [&] {
        const std::size_t at = part.rfind("::");
        if (at == std::string::npos) {
            throw std::runtime_error("a sort's expression has no type: " + part);
        }
        keys.push_back({std::string(trimmed(part.substr(0, at))), std::string(trimmed(part.substr(at + 2)))});
        part.clear();
    };
    for (const char c : text) {
        depth += c == '(' ? 1 : c == ')' ? -1 : 0;
        if (c == ',' && depth == 0) {
            take();
        } else {
            part += c;
        }
    }
    take();
    return keys;
}

class SqlReader {
  public:
    void read(const EmbeddedText& text) {
        std::string_view rest = text.text;
        int line_number = 0;
        while (!rest.empty()) {
            const std::size_t end = std::min(rest.find('\n'), rest.size());
            ++line_number;
            try {
                read_line(rest.substr(0, end));
            } catch (const std::runtime_error& error) {
                throw std::runtime_error(std::string(text.name) + ":" + std::to_string(line_number) + ": " +
                                         error.what());
            }
            rest.remove_prefix(std::min(end + 1, rest.size()));
        }
        leave();
    }

    std::map<std::string, OperationSql> finish() {
        for (auto& [id, operation] : operations_) {
            for (std::string& statement : operation.statements) {
                // Definitions may hold others.
                for (int depth = 0; depth < 5; ++depth) {
                    for (const auto* definitions : {&own_[id], &definitions_}) {
                        for (const auto& [name, text] : *definitions) {
                            put_in(statement, name, text);
                        }
                    }
                }
                check(id, operation, statement);
            }
            if (operation.statements.empty()) {
                throw std::runtime_error("operation " + id + " has no statements");
            }
        }
        return std::move(operations_);
    }

  private:
    void read_line(std::string_view line) {
        if (starts_with(line, kDefine)) {
            leave();
            definition_ = trimmed(line.substr(kDefine.size()));
        } else if (starts_with(line, kOperation)) {
            leave();
            operation_ = trimmed(line.substr(kOperation.size()));
            if (!operations_.emplace(operation_, OperationSql{}).second) {
                throw std::runtime_error("operation " + operation_ + " is there twice");
            }
        } else if (starts_with(line, kWith)) {
            const std::size_t colon = line.find(": ");
            if (operation_.empty() || colon == std::string_view::npos) {
                throw std::runtime_error("a definition that belongs to no operation or has no name");
            }
            own_[operation_][std::string(trimmed(line.substr(kWith.size(), colon - kWith.size())))] =
                line.substr(colon + 2);
        } else if (starts_with(line, kSort)) {
            const std::size_t colon = line.find(": ");
            if (operation_.empty() || colon == std::string_view::npos) {
                throw std::runtime_error("a sort that belongs to no operation or has no name");
            }
            operations_[operation_]
                .sorts[std::string(trimmed(line.substr(kSort.size(), colon - kSort.size())))] =
                read_keys(line.substr(colon + 2));
        } else if (starts_with(line, "--") && !starts_with(line, kIf)) {
            return;
        } else {
            text_ += std::string(line) + "\n";
            if (!operation_.empty() && !line.empty() && line.back() == ';') {
                text_.erase(text_.find_last_of(';'));
                operations_[operation_].statements.push_back(std::move(text_));
                text_.clear();
            }
        }
    }

    void leave() {
        if (!definition_.empty()) {
            text_.erase(text_.find_last_not_of('\n') + 1);
            if (!definitions_.emplace(definition_, text_).second) {
                throw std::runtime_error(definition_ + " is defined twice");
            }
        } else if (!trimmed(text_.substr(0, text_.find_last_not_of('\n') + 1)).empty()) {
            throw std::runtime_error("a statement is not ended by ;");
        }
        definition_.clear();
        operation_.clear();
        text_.clear();
    }

    static void check(const std::string& id, const OperationSql& operation, const std::string& statement) {
        for (std::size_t at = statement.find("{{"); at != std::string::npos;
             at = statement.find("{{", at + 2)) {
            const std::string name = statement.substr(at + 2, statement.find("}}", at) - at - 2);
            if (!operation.is_list() ||
                (name != "key" && name != "after" && name != "order" && name != "one_by_one")) {
                throw std::runtime_error("operation " + id + ": {{" + name + "}} is not defined");
            }
        }
    }

    std::map<std::string, OperationSql> operations_;
    std::map<std::string, std::string> definitions_;
    std::map<std::string, std::map<std::string, std::string>> own_;  // of one operation
    std::string definition_;
    std::string operation_;
    std::string text_;
};

std::string key_list(const std::vector<SortKey>& keys) {
    std::string out;
    for (const SortKey& key : keys) {
        out += (out.empty() ? "" : ", ") + key.expression;
    }
    return out;
}

std::string condition_after(const std::vector<SortKey>& keys, const PageOrder& order) {
    if (order.after.empty()) {
        return "";
    }
    std::string values;
    for (std::size_t i = 0; i < keys.size(); ++i) {
        values += i == 0 ? "" : ", ";
        values += "($1::jsonb #>> '{after," + std::to_string(i) + "}')::" + keys[i].type;
    }
    return "AND (" + key_list(keys) + ") " + (order.descending ? "<" : ">") + " (" + values + ")";
}

std::string order_by(const std::vector<SortKey>& keys, bool descending) {
    std::string out;
    for (const SortKey& key : keys) {
        out += (out.empty() ? "ORDER BY " : ", ") + key.expression + (descending ? " DESC" : "");
    }
    return out;
}

// Lines that a parameter brings, and those of the order.
std::string rendered(const std::string& statement, const OperationSql& operation,
                     const OperationRequest& request) {
    std::string out;
    for (std::size_t from = 0; from < statement.size();) {
        const std::size_t end = std::min(statement.find('\n', from), statement.size());
        std::string line = statement.substr(from, end - from);
        from = end + 1;
        if (starts_with(line, kIf)) {
            const std::size_t colon = line.find(": ");
            const std::string name = line.substr(kIf.size(), colon - kIf.size());
            if (std::find(request.given.begin(), request.given.end(), name) == request.given.end()) {
                continue;
            }
            line.erase(0, colon + 2);
        }
        out += line + "\n";
    }
    if (request.order) {
        const auto keys = operation.sorts.find(request.order->sort);
        if (keys == operation.sorts.end()) {
            throw std::runtime_error("no sort " + request.order->sort);
        }
        replace_all(out, "{{key}}", "json_build_array(" + key_list(keys->second) + ")");
        replace_all(out, "{{after}}", condition_after(keys->second, *request.order));
        replace_all(out, "{{order}}", order_by(keys->second, request.order->descending));
        // An order by nothing but what is unique comes from an index.
        replace_all(out, "{{one_by_one}}", keys->second.size() == 1 ? "OFFSET 0" : "");
    }
    return out;
}

}  // namespace

std::vector<PgStatement> OperationSql::bind(const OperationRequest& request) const {
    std::vector<PgStatement> bound;
    for (const std::string& statement : statements) {
        PgStatement made;
        made.sql = rendered(statement, *this, request);
        // As many parameters as the statement names: of one that it does not, the server could not tell the
        // type.
        const bool names_parameters = made.sql.find("$1") != std::string::npos;
        if (names_parameters) {
            made.params.emplace_back(request.parameters);
        }
        if (made.sql.find("$2") != std::string::npos) {
            if (!names_parameters) {
                replace_all(made.sql, "$2", "$1");
            }
            made.params.emplace_back(request.body);
        }
        bound.push_back(std::move(made));
    }
    return bound;
}

std::map<std::string, OperationSql> read_operation_sql(const std::vector<EmbeddedText>& texts) {
    SqlReader reader;
    for (const EmbeddedText& text : texts) {
        reader.read(text);
    }
    return reader.finish();
}

}  // namespace sync_engine
