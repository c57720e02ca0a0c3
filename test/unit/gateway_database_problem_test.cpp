#include <gtest/gtest.h>

#include <string>

#include <fcntl.h>
#include <unistd.h>

#include "gateway/database_problem.hpp"

namespace sync_engine {
namespace {

PgOutcome error(std::string sqlstate, std::string message = "it is so", std::string detail = "") {
    PgOutcome outcome;
    outcome.status = PgOutcome::Status::failed;
    outcome.sqlstate = std::move(sqlstate);
    outcome.message = std::move(message);
    outcome.detail = std::move(detail);
    return outcome;
}

PgOutcome of_constraint(std::string sqlstate, std::string constraint, std::string message) {
    PgOutcome outcome =
        error(std::move(sqlstate), std::move(message), "Failing row contains (1, acme, s3cret).");
    outcome.constraint = std::move(constraint);
    return outcome;
}

Problem problem(const PgOutcome& outcome) {
    return database_problem(outcome).problem;
}

std::string header(const PgOutcome& outcome, std::string_view name) {
    for (const auto& [key, value] : database_problem(outcome).headers) {
        if (key == name) {
            return value;
        }
    }
    return "";
}

TEST(DatabaseProblem, WhatABodyNamesAndIsNotThereIsAFaultOfTheBody) {
    const PgOutcome missing = error("P0002", "connection 5 does not exist");
    EXPECT_EQ(database_problem(missing, NamedIn::path).problem.status, 404U);
    const Problem found = database_problem(missing, NamedIn::body).problem;
    EXPECT_EQ(found.status, 422U);
    EXPECT_EQ(found.pointer, "/connection_id");
    EXPECT_EQ(found.detail, "connection 5 does not exist");
}

TEST(DatabaseProblem, EachStateHasItsStatus) {
    struct Case {
        const char* state;
        unsigned status;
        const char* code;
    };
    for (const Case& c :
         {Case{"28000", 401, "unauthenticated"}, Case{"42501", 403, "forbidden"},
          Case{"P0002", 404, "not_found"}, Case{"55000", 409, "not_possible"},
          Case{"23505", 409, "already_exists"}, Case{"SE412", 412, "changed_meanwhile"},
          Case{"22023", 422, "invalid"}, Case{"22P02", 422, "invalid"}, Case{"23502", 422, "invalid"},
          Case{"23503", 422, "invalid"}, Case{"23514", 422, "invalid"}, Case{"54000", 422, "invalid"},
          Case{"40001", 503, "busy"}, Case{"40P01", 503, "busy"}, Case{"57014", 503, "timeout"},
          Case{"25006", 503, "unavailable"}, Case{"42883", 500, "internal"},
          Case{"XX000", 500, "internal"}}) {
        EXPECT_EQ(problem(error(c.state)).status, c.status) << c.state;
        EXPECT_EQ(problem(error(c.state)).code, c.code) << c.state;
    }
    EXPECT_EQ(header(error("28000"), "WWW-Authenticate"), "Bearer");
    EXPECT_EQ(header(error("40001"), "Retry-After"), "1");
    EXPECT_EQ(header(error("25006"), "Retry-After"), "1");
}

TEST(DatabaseProblem, WithoutAnAnswerItIsWorthTryingAgain) {
    for (const auto status :
         {PgOutcome::Status::lost, PgOutcome::Status::overloaded, PgOutcome::Status::timed_out}) {
        PgOutcome outcome;
        outcome.status = status;
        outcome.message = "server db.internal closed the connection";
        EXPECT_EQ(problem(outcome).status, 503U);
        EXPECT_EQ(header(outcome, "Retry-After"), "1");
        EXPECT_EQ(problem(outcome).detail.find("db.internal"), std::string::npos);
    }
}

TEST(DatabaseProblem, ARateSaysWhenToTryAgain) {
    const PgOutcome outcome =
        error("53400", "tenant acme may ask for 5 runs a minute by hand", "Try again in 12 seconds.");
    EXPECT_EQ(problem(outcome).status, 429U);
    EXPECT_EQ(problem(outcome).detail,
              "tenant acme may ask for 5 runs a minute by hand. Try again in 12 seconds.");
    EXPECT_EQ(header(outcome, "Retry-After"), "12");
}

TEST(DatabaseProblem, ALimitThatWaitingDoesNotHelpIsAConflict) {
    const PgOutcome outcome = error("53400", "tenant acme may have 10 connections");
    EXPECT_EQ(problem(outcome).status, 409U);
    EXPECT_EQ(problem(outcome).code, "limit_reached");
    EXPECT_EQ(header(outcome, "Retry-After"), "");
}

TEST(DatabaseProblem, PointsAtTheFieldThatAMessageNames) {
    const auto pointer = [](const char* message) { return problem(error("22023", message)).pointer; };
    EXPECT_EQ(pointer("at must be a time of day"), "/at");
    EXPECT_EQ(pointer("schedule_type cannot be \"x\""), "/schedule_type");
    EXPECT_EQ(pointer("invalid cron expression: 7 fields"), "/cron_expression");
    EXPECT_EQ(pointer("time zone \"Mars\" is not known"), "/timezone");
    EXPECT_EQ(pointer("the schedule \"0 0 30 2 *\" would never run"), "/cron_expression");
    EXPECT_EQ(
        pointer("null value in column \"name\" of relation \"sync_schedules\" violates not-null constraint"),
        "/name");
    EXPECT_EQ(
        pointer("null value in column \"own_lane\" of relation \"sync_jobs\" violates not-null constraint"),
        "");
    EXPECT_EQ(pointer("connection 5 does not exist"), "/connection_id");
    EXPECT_EQ(pointer("tenant acme has no schedule 5"), "/schedule_id");
    EXPECT_EQ(pointer("schedule 5 is daily, not realtime"), "/schedule_id");
    EXPECT_EQ(pointer("config.to must be an array of 1 to 20 strings"), "/config/to");
    EXPECT_EQ(pointer("the webhook URL is not https"), "/config/url");
    EXPECT_EQ(pointer("digest.every must be day or week"), "/config/digest");
    EXPECT_EQ(pointer("config must be an object"), "/config");
    EXPECT_EQ(pointer("something else is wrong"), "");
}

TEST(DatabaseProblem, PointsAtTheFieldThatAConstraintNames) {
    const auto pointer = [](const char* constraint) {
        return problem(
                   of_constraint("23514", constraint, "new row for relation \"x\" violates check constraint"))
            .pointer;
    };
    EXPECT_EQ(pointer("sync_schedules_jitter_seconds_check"), "/jitter_seconds");
    EXPECT_EQ(pointer("connections_provider_slug_fkey"), "/provider_slug");
    EXPECT_EQ(pointer("sync_schedules_ends_after_start"), "");
    EXPECT_EQ(pointer("some_own_constraint"), "");
}

TEST(DatabaseProblem, RowsAndTablesAreNotShown) {
    const Problem check =
        problem(of_constraint("23514", "sync_schedules_priority_check",
                              "new row for relation \"sync_schedules\" violates check constraint"));
    EXPECT_EQ(check.detail, "priority is not one that is allowed");
    const Problem foreign =
        problem(of_constraint("23503", "connections_provider_slug_fkey",
                              "insert or update on table \"connections\" violates foreign key"));
    EXPECT_EQ(foreign.detail, "provider_slug names something that does not exist");
    const Problem internal = problem(error("XX000", "could not open file \"base/1/2\"", "s3cret"));
    EXPECT_EQ(internal.detail.find("base"), std::string::npos);
    EXPECT_EQ(internal.detail.find("s3cret"), std::string::npos);
}

TEST(DatabaseProblem, RightsThatTheGatewayLacksAreItsOwnFault) {
    EXPECT_EQ(problem(error("42501", "permission denied for table connections")).status, 500U);
    EXPECT_EQ(problem(error("42501", "the token lacks the scope write")).status, 403U);
}

TEST(DatabaseProblem, HintsInSqlAreForOthers) {
    PgOutcome outcome = error("55000");
    outcome.hint = "Call SELECT sync.resume(5).";
    EXPECT_EQ(problem(outcome).hint, "");
    outcome.hint = "Wait for it.";
    EXPECT_EQ(problem(outcome).hint, "Wait for it.");
}

TEST(DatabaseProblem, TheUnexpectedIsLoggedAndNotShown) {
    int ends[2];
    ASSERT_EQ(pipe(ends), 0);
    const Redactor redactor;
    {
        Logger log(ends[1], LogLevel::info, redactor);
        const HttpReply reply = database_problem_reply(error("XX000", "broken page"), "req-1", log);
        EXPECT_EQ(reply.status, 500U);
        EXPECT_EQ(reply.body.find("broken page"), std::string::npos);
        EXPECT_EQ(database_problem_reply(error("28000"), "req-2", log).headers.back().first,
                  "WWW-Authenticate");
    }
    close(ends[1]);
    std::string text(4096, '\0');
    text.resize(static_cast<std::size_t>(std::max<ssize_t>(read(ends[0], text.data(), text.size()), 0)));
    close(ends[0]);
    EXPECT_NE(text.find("broken page"), std::string::npos);
    EXPECT_NE(text.find("req-1"), std::string::npos);
    EXPECT_EQ(text.find("req-2"), std::string::npos);
}

}  // namespace
}  // namespace sync_engine
