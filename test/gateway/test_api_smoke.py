def test_a_schedule_is_made_and_read(service):
    api = service.client()
    service.engine.provider("noop", "noop")
    connection = service.engine.connection("noop")
    made = api.post("/sync-schedules", {"connection_id": connection, "name": "n", "schedule_type": "daily", "at": "02:00"})
    assert made.status == 201, made
    assert api.get(made.headers["location"].removeprefix(api.BASE)).json() == made.json()
