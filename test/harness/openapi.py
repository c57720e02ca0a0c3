"""Whether answers are what the API's document says."""

import datetime
import re

import jsonschema

formats = jsonschema.FormatChecker(formats=())


@formats.checks("date-time")
def is_date_time(value):
    if not isinstance(value, str):
        return True
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)", value):
        return False
    try:
        datetime.datetime.fromisoformat(value[:19])
    except ValueError:
        return False
    return True


def validate(value, schema):
    jsonschema.Draft202012Validator(schema, format_checker=formats).validate(value)


def check_reply(operation, reply):
    """Status, type, headers and body are as described; what the body's schema is, if it has one."""
    described = operation.source["responses"]
    response = described.get(str(reply.status), described["default"] if reply.status >= 400 else None)
    assert response, f"{operation.id} does not describe {reply}"
    for name in response.get("headers", {}):
        assert name.lower() in reply.headers, f"{operation.id} has no {name}: {reply}"
    if "content" not in response:
        assert reply.body == b"" and "content-type" not in reply.headers, reply
        return None
    ((kind, content),) = response["content"].items()
    assert reply.headers["content-type"].split(";")[0] == kind, reply
    if kind != "text/event-stream":
        try:
            validate(reply.json(), content["schema"])
        except jsonschema.ValidationError as error:
            raise AssertionError(f"{operation.id} {reply.status}: {error.json_path}: {error.message}") from None
    return content["schema"]
