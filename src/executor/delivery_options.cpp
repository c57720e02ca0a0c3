// The options of notifications.
#include <array>

#include "executor/option_table.hpp"
#include "executor/option_values.hpp"

namespace sync_engine {

namespace {

using Text = std::string_view;

OptionProblem set_smtp_url(Options& o, Text text) {
    o.smtp_url = text;
    return OptionProblem(smtp_url_fault(text));
}

OptionProblem set_smtp_tls(Options& o, Text text) {
    if (text == "required") {
        o.smtp_tls = SmtpTls::required;
    } else if (text == "opportunistic") {
        o.smtp_tls = SmtpTls::opportunistic;
    } else if (text == "off") {
        o.smtp_tls = SmtpTls::off;
    } else {
        return "must be required, opportunistic or off";
    }
    return {};
}

OptionProblem set_mail_from(Options& o, Text text) {
    o.mail_from = parse_mailbox(text);
    return o.mail_from ? OptionProblem() : "must be an e-mail address or Name <address>";
}

OptionProblem set_unsubscribe_url(Options& o, Text text) {
    o.unsubscribe_url = text;
    return OptionProblem(unsubscribe_url_fault(text));
}

constexpr std::array kSpecs{
    OptionSpec{"deliver", "", "on|off", "on", false, false,
               [](Options& o, Text v) { return set_switch(o.deliver, v); },
               "Deliver notifications: webhooks, and mails where --smtp-url and --mail-from are given."},
    OptionSpec{"delivery-concurrency", "", "N", "16", false, false,
               [](Options& o, Text v) { return set_integer(o.delivery_concurrency, v, 1, 1000); },
               "Deliveries in flight at a time."},
    OptionSpec{"webhook-allow-private-addresses", "", "RULE", "", true, false,
               [](Options& o, Text v) { return add_addresses(o.webhook_addresses, v); },
               "Internal addresses that webhooks may reach, as of --allow-private-addresses, which does not "
               "count for them. Repeatable. Without it only global addresses."},
    OptionSpec{
        "smtp-url", "", "URL", "", false, false, set_smtp_url,
        "Mail server: smtp://host:port, or smtps://host:port for TLS from the start. A path is the name "
        "to give in EHLO. It may have any address."},
    OptionSpec{"smtp-tls", "", "MODE", "required", false, false, set_smtp_tls,
               "STARTTLS on smtp://: required, opportunistic (where the server offers it) or off."},
    OptionSpec{"smtp-user", "", "NAME", "", false, false,
               [](Options& o, Text v) { return set_text(o.smtp_user, v); },
               "User to authenticate as. Without it no authentication."},
    OptionSpec{"smtp-password", "", "TEXT", "", false, false,
               [](Options& o, Text v) { return set_text(o.smtp_password, v); },
               "Its password; in the environment or the config file only.", true},
    OptionSpec{"smtp-password-file", "", "FILE", "", false, false,
               [](Options& o, Text v) { return set_text(o.smtp_password_file, v); },
               "File that holds the password instead, read anew for each mail."},
    OptionSpec{"mail-from", "", "ADDRESS", "", false, false, set_mail_from,
               "Sender of mails: \"Name <notifications@example.com>\" or the address alone."},
    OptionSpec{
        "unsubscribe-url", "", "URL", "", false, false, set_unsubscribe_url,
        "https URL that unsubscribes by POST, {token} in it standing for the mail's token. Without it a "
        "mail to the sender does."},
};

}  // namespace

std::span<const OptionSpec> delivery_options() {
    return kSpecs;
}

}  // namespace sync_engine
