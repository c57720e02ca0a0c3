// Statements of the API's operations, and how a request fills them in.
#include <gtest/gtest.h>

#include <string>

#include "gateway/api/api_document.hpp"
#include "gateway/api/operation_sql.hpp"

namespace sync_engine {
namespace {

std::map<std::string, OperationSql> read(std::string_view text) {
    return read_operation_sql({{"a.sql", text}});
}

std::string error_of(std::string_view text) {
    try {
        read(text);
    } catch (const std::runtime_error& error) {
        return error.what();
    }
    return "";
}

TEST(OperationSql, PutsDefinitionsIn) {
    const auto operations = read(
        "-- define inner\nb\n\n-- define outer\na {{inner}} {{own}}\n\n"
        "-- operation one\n-- with own: c\nSELECT {{outer}};\nSELECT 2;\n"
        "-- operation two\n-- with own: d\nSELECT {{outer}};\n");
    ASSERT_EQ(operations.at("one").statements.size(), 2U);
    EXPECT_EQ(operations.at("one").statements[0], "SELECT a b c");
    EXPECT_EQ(operations.at("two").statements[0], "SELECT a b d");
}

TEST(OperationSql, TellsWhatIsWrong) {
    EXPECT_EQ(error_of("-- operation a\nSELECT {{none}};\n"), "operation a: {{none}} is not defined");
    EXPECT_EQ(error_of("-- operation a\nSELECT 1\n"), "a statement is not ended by ;");
    EXPECT_EQ(error_of("-- operation a\nSELECT 1;\n-- operation a\nSELECT 1;\n"),
              "a.sql:3: operation a is there twice");
    EXPECT_EQ(error_of("-- operation a\n"), "operation a has no statements");
    EXPECT_EQ(error_of("-- sort a: b::int\n"), "a.sql:1: a sort that belongs to no operation or has no name");
    EXPECT_EQ(error_of("-- operation a\n-- sort x: b\nSELECT 1;\n"),
              "a.sql:2: a sort's expression has no type: b");
    EXPECT_EQ(error_of("-- operation a\nSELECT {{key}};\n"), "operation a: {{key}} is not defined");
}

TEST(OperationSql, PassesAsManyParametersAsAStatementNames) {
    const auto operations = read(
        "-- operation a\nSELECT 1;\nSELECT $1::jsonb;\nSELECT $1::jsonb, $2::jsonb;\nSELECT $2::jsonb;\n");
    OperationRequest request;
    request.parameters = "{\"p\":1}";
    request.body = "{\"b\":1}";
    const auto bound = operations.at("a").bind(request);
    ASSERT_EQ(bound.size(), 4U);
    EXPECT_TRUE(bound[0].params.empty());
    ASSERT_EQ(bound[1].params.size(), 1U);
    EXPECT_EQ(bound[1].params[0], "{\"p\":1}");
    EXPECT_EQ(bound[2].params.size(), 2U);
    ASSERT_EQ(bound[3].params.size(), 1U);
    EXPECT_EQ(bound[3].params[0], "{\"b\":1}");
    EXPECT_EQ(bound[3].sql, "SELECT $1::jsonb\n");
}

TEST(OperationSql, KeepsTheLinesOfGivenParametersAlone) {
    const auto operations = read("-- operation a\nSELECT 1\n--? x: AND x\n--? y: AND y\n;\n");
    OperationRequest request;
    request.given = {"y"};
    EXPECT_EQ(operations.at("a").bind(request)[0].sql, "SELECT 1\nAND y\n");
}

TEST(OperationSql, ALineOfAParameterStaysOne) {
    const auto operations =
        read("-- define two\na\nb\n\n-- operation a\nSELECT 1\n--? x: AND {{two}} = 1\n;\n");
    OperationRequest request;
    EXPECT_EQ(operations.at("a").bind(request)[0].sql, "SELECT 1\n");
    request.given = {"x"};
    EXPECT_EQ(operations.at("a").bind(request)[0].sql, "SELECT 1\nAND a b = 1\n");
}

TEST(OperationSql, OrdersAndGoesOn) {
    const auto operations = read(
        "-- operation a\n-- sort name: COALESCE(n.x, 'a')::text, n.id::bigint\n"
        "SELECT {{key}} FROM n WHERE true {{after}}\n{{order}};\n");
    OperationRequest request;
    request.order = PageOrder{"name", false, ""};
    EXPECT_EQ(operations.at("a").bind(request)[0].sql,
              "SELECT json_build_array(COALESCE(n.x, 'a'), n.id) FROM n WHERE true \n"
              "ORDER BY COALESCE(n.x, 'a'), n.id\n");
    request.order = PageOrder{"name", true, "[\"b\",2]"};
    EXPECT_EQ(operations.at("a").bind(request)[0].sql,
              "SELECT json_build_array(COALESCE(n.x, 'a'), n.id) FROM n WHERE true "
              "AND (COALESCE(n.x, 'a'), n.id) < (($1::jsonb #>> '{after,0}')::text, ($1::jsonb #>> "
              "'{after,1}')::bigint)\n"
              "ORDER BY COALESCE(n.x, 'a') DESC, n.id DESC\n");
}

TEST(OperationSql, LooksUpOneByOneWhatIsInTheOrderOfAnIndex) {
    const auto operations = read(
        "-- operation a\n-- sort id: n::bigint\n-- sort name: m::text, n::bigint\n"
        "SELECT {{key}} FROM n, LATERAL (SELECT 1 {{one_by_one}}) x;\n");
    OperationRequest request;
    request.order = PageOrder{"id", false, ""};
    EXPECT_EQ(operations.at("a").bind(request)[0].sql,
              "SELECT json_build_array(n) FROM n, LATERAL (SELECT 1 OFFSET 0) x\n");
    request.order->sort = "name";
    EXPECT_EQ(operations.at("a").bind(request)[0].sql,
              "SELECT json_build_array(m, n) FROM n, LATERAL (SELECT 1 ) x\n");
}

// The program would say so at its start.
TEST(OperationSql, HasTheOperationsOfTheDescription) {
    const ApiDocument document(openapi_texts());
    const auto operations = read_operation_sql(operation_texts());
    for (const ApiOperation& operation : document.operations()) {
        if (operation.id == "getOpenApi" || operation.id == "streamEvents") {
            continue;
        }
        ASSERT_TRUE(operations.contains(operation.id)) << operation.id;
        for (const ApiParameter& parameter : operation.parameters) {
            EXPECT_EQ(parameter.name == "sort",
                      parameter.name == "sort" && operations.at(operation.id).is_list())
                << operation.id;
        }
    }
}

}  // namespace
}  // namespace sync_engine
