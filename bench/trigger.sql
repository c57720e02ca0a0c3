SELECT sync.trigger(nextval('bench.next')::bigint);
