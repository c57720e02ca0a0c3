#include "gateway/request_reader.hpp"

#include <boost/beast/http/basic_parser.hpp>

#include "connectors/ascii.hpp"

namespace sync_engine {

namespace beast = boost::beast;
namespace http = boost::beast::http;

namespace {

// Of a chunk's size line, and of all trailer fields together: Beast would wait for their end for ever.
constexpr std::size_t kLongestChunkLine = 8 * 1024;

}  // namespace

// Beast's parser, which puts what it finds where it belongs. Fields in the trailer of a chunked body are
// dropped: merged into the header, as Beast's own message parser does it, they could pass for what a proxy
// has checked.
class RequestReader::Parser : public http::basic_parser<true> {
  public:
    Parser(HttpRequest& request, Framing& framing, RequestLimits limits)
        : request_(request), framing_(framing) {
        header_limit(static_cast<std::uint32_t>(limits.header_bytes + 2));
        body_limit(limits.body_bytes);
        eager(true);
    }

  private:
    void on_request_impl(http::verb, beast::string_view method, beast::string_view target, int version,
                         beast::error_code& error) override {
        request_.method.assign(method.data(), method.size());
        request_.target.assign(target.data(), target.size());
        framing_.is_http_1_0 = version == 10;
        error = {};
    }

    void on_response_impl(int, beast::string_view, int, beast::error_code& error) override { error = {}; }

    void on_field_impl(http::field, beast::string_view name, beast::string_view value,
                       beast::error_code& error) override {
        error = {};
        if (in_body_) {
            return;
        }
        std::string lower(name.data(), name.size());
        for (char& c : lower) {
            c = ascii_lower(c);
        }
        request_.headers.emplace_back(std::move(lower), std::string(value.data(), value.size()));
    }

    void on_header_impl(beast::error_code& error) override {
        in_body_ = true;
        error = {};
    }

    void on_body_init_impl(const boost::optional<std::uint64_t>&, beast::error_code& error) override {
        error = {};
    }

    std::size_t on_body_impl(beast::string_view body, beast::error_code& error) override {
        request_.body.append(body.data(), body.size());
        error = {};
        return body.size();
    }

    void on_chunk_header_impl(std::uint64_t, beast::string_view, beast::error_code& error) override {
        error = {};
    }

    std::size_t on_chunk_body_impl(std::uint64_t, beast::string_view body,
                                   beast::error_code& error) override {
        return on_body_impl(body, error);
    }

    void on_finish_impl(beast::error_code& error) override { error = {}; }

    HttpRequest& request_;
    Framing& framing_;
    bool in_body_ = false;
};

RequestReader::RequestReader(RequestLimits limits) : limits_(limits), scanner_(limits.header_bytes) {}

RequestReader::~RequestReader() = default;

RequestReader::State RequestReader::refuse(Problem problem) {
    problem_ = std::move(problem);
    return state_ = State::refused;
}

RequestReader::State RequestReader::read(std::string& buffer) {
    return state_ == State::head ? read_head(buffer) : read_body(buffer);
}

RequestReader::State RequestReader::read_head(std::string& buffer) {
    const auto size = scanner_.scan(buffer);
    if (scanner_.problem()) {
        return refuse(*scanner_.problem());
    }
    if (!size) {
        return state_;
    }
    parser_ = std::make_unique<Parser>(request_, framing_, limits_);
    beast::error_code error;
    const std::size_t length = *size - scanner_.begin();
    const std::size_t taken =
        parser_->put(boost::asio::buffer(buffer.data() + scanner_.begin(), length), error);
    // Beast's own objections come second: those of the rules have an answer of their own.
    if (std::optional<Problem> problem = apply_request_rules(request_, limits_.body_bytes, framing_)) {
        return refuse(std::move(*problem));
    }
    if (error || taken != length || !parser_->is_header_done() || parser_->is_done() == framing_.has_body()) {
        return refuse(malformed("the header is malformed"));
    }
    buffer.erase(0, *size);
    return state_ = framing_.has_body() ? State::body : State::done;
}

RequestReader::State RequestReader::read_body(std::string& buffer) {
    beast::error_code error;
    std::size_t taken = 0;
    while (!error && !parser_->is_done() && taken < buffer.size()) {
        taken += parser_->put(boost::asio::buffer(buffer.data() + taken, buffer.size() - taken), error);
    }
    buffer.erase(0, taken);
    if (error == http::error::body_limit) {
        return refuse(body_too_large(limits_.body_bytes));
    }
    if ((error && error != http::error::need_more) || buffer.size() > kLongestChunkLine) {
        if (!parser_->is_done()) {
            return refuse(malformed("the chunks of the body are malformed"));
        }
    }
    return state_ = parser_->is_done() ? State::done : State::body;
}

}  // namespace sync_engine
