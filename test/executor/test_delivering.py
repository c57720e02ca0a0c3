"""When executors deliver notifications, and when they do not: whatever the channel."""

from harness.executor import PLANTED_SECRETS
from harness.waiting import wait_until

ALICE = "alice@customer.example"


def test_in_app_notifications_need_neither_a_mail_server_nor_an_executor(engine, notices):
    notices.in_app("alice", "bob")
    notices.fails(notices.connection(), "the API said no")
    notices.route()
    assert notices.pending() == 0
    for user in ("alice", "bob"):
        (row,) = notices.inbox(user)
        assert "the API said no" in row["title"] + row["body"]


def test_without_a_mail_server_mail_waits_and_webhooks_do_not(engine, notices, mail, hook):
    receiver = hook()
    notices.email(ALICE)
    notices.webhook(receiver)
    notices.fails(notices.connection())
    without = notices.executor().ready()
    receiver.wait(what=engine.tails)
    notices.wait_deliveries(channel="webhook", outcome="delivered")
    assert without.stop() == 0
    (waiting,) = notices.deliveries(channel="email")
    assert (waiting["status"], waiting["outcome"]) == ("queued", None)
    notices.executor(mail=mail).ready()
    mail.wait(what=engine.tails)
    notices.wait_all_delivered()


def test_deliver_off_delivers_nothing(engine, notices, mail, hook):
    receiver = hook()
    notices.email(ALICE)
    notices.webhook(receiver)
    connection = notices.repo_connection()[1]
    notices.fails(notices.connection())
    idle = notices.executor("--deliver", "off", mail=mail).ready()
    engine.wait_status(engine.trigger(connection))
    assert idle.stop() == 0
    assert (receiver.requests(), mail.messages, mail.connections) == ([], [], 0)
    assert notices.pending() > 0
    notices.executor(mail=mail).ready()
    notices.wait_all_delivered()


def test_once_delivers_what_its_jobs_caused(engine, notices, mail, hook):
    receiver = hook()
    connection = notices.repo_connection()[1]
    notices.email(ALICE, events=["success"])
    notices.webhook(receiver, events=["success"])
    engine.trigger(connection)
    done = notices.executor("--once", mail=mail)
    assert done.wait() == 0, done.output()[-4000:]
    assert (len(receiver.requests()), len(mail.accepted)) == (1, 1)
    notices.wait_all_delivered()


def test_once_does_not_wait_for_receivers_that_fail(engine, notices, hook):
    receiver = hook()
    receiver.behave(status=500)
    notices.webhook(receiver)
    notices.fails(notices.connection())
    done = notices.executor("--once")
    assert done.wait() == 0, done.output()[-4000:]
    assert len(receiver.requests()) == 1
    assert notices.deliveries()[-1]["next_attempt_at"] is not None


def test_an_idle_executor_is_woken_by_what_is_to_be_told(engine, notices, hook):
    receiver = hook()
    notices.webhook(receiver)
    connection = notices.connection()
    # Without wake-ups it would look again after an hour.
    running = notices.executor("--poll-seconds", "3600").ready()
    running.wait_for("connected to the database", connection="wake-up")
    notices.fails(connection)
    receiver.wait(what=engine.tails)
    notices.wait_all_delivered()
    assert running.stop() == 0


def test_secrets_of_webhooks_are_in_no_log(engine, notices, hook):
    receiver = hook()
    setting = notices.webhook(receiver)
    secret = notices.secret(setting)
    PLANTED_SECRETS.update((secret, secret.removeprefix("whsec_")))
    receiver.script({"status": 500})
    notices.fails(notices.connection())
    running = notices.executor().ready()
    notices.wait_deliveries(reply_status=500)
    notices.retry_now()
    notices.wait_all_delivered()
    assert running.stop() == 0
    told = str(engine.db.rows("SELECT to_jsonb(d) FROM sync.deliveries d")) + engine.db.cluster.log.read_text()
    told += str(engine.db.rows("SELECT to_jsonb(a) FROM sync.audit_log a"))
    assert secret.removeprefix("whsec_") not in told


def test_a_session_whose_extension_is_older_does_its_jobs(engine, notices, hook):
    """The functions are not there: that is told once, and everything else goes on."""
    engine.db.run("ALTER FUNCTION sync.claim_deliveries(text, int, text[], timestamptz) RENAME TO gone")
    connection = notices.repo_connection()[1]
    running = notices.executor().ready()
    engine.wait_status(engine.trigger(connection))
    engine.wait_status(engine.trigger(connection))
    wait_until(lambda: [line for line in running.lines(level="info") if "deliver" in line["msg"]], running.output)
    assert not [line for line in running.lines() if line["level"] in ("warn", "error")]
    assert running.stop() == 0
