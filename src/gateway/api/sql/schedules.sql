-- define schedule
json_build_object('id', s.id, 'connection_id', s.connection_id, 'name', s.name, 'description', s.description,
    'schedule_type', s.schedule_type, 'cron_expression', s.cron_expression, 'timezone', s.timezone, 'job_type', s.job_type,
    'priority', s.priority, 'config', s.config, 'notification_settings', s.notification_settings,
    'starts_at', CASE WHEN isfinite(s.starts_at) THEN s.starts_at END, 'ends_at', CASE WHEN isfinite(s.ends_at) THEN s.ends_at END,
    'jitter_seconds', s.jitter_seconds, 'dst_gap', s.dst_gap, 'dst_fold', s.dst_fold, 'catch_up', s.catch_up,
    'catchup_limit', s.catchup_limit, 'catchup_max_age_seconds', extract(epoch FROM s.catchup_max_age)::bigint, 'overlap', s.overlap,
    'is_active', s.is_active, 'pause_reason', s.pause_reason, 'resume_at', s.resume_at, 'created_at', s.created_at,
    'updated_at', s.updated_at, 'runs', x.runs, 'connection_status', x.connection_status, 'provider_status', x.provider_status,
    'next_run_at', x.next_run_at, 'next_run_local', x.next_run_local, 'late_seconds', round(extract(epoch FROM x.late_by), 3),
    'live_job', CASE WHEN x.job_id IS NOT NULL
                     THEN json_build_object('id', x.job_id, 'status', x.job_status, 'scheduled_at', x.job_scheduled_at) END)

-- define from_schedules
FROM sync.sync_schedules s
JOIN sync.schedule_status x ON x.schedule_id = s.id AND x.tenant_id = {{tenant}}
WHERE s.tenant_id = {{tenant}}

-- define find_schedule
SELECT s.id AS found FROM sync.sync_schedules s WHERE s.tenant_id = {{tenant}} AND s.id = {{id}}

-- define show_schedule
SELECT {{schedule}} AS body, sync.object_version('schedule', s.id) AS version
{{from_schedules}} AND s.id = {{id}}

-- define days
CASE WHEN jsonb_typeof($2::jsonb -> 'days') = 'array' THEN ARRAY(SELECT jsonb_array_elements_text($2::jsonb -> 'days')) END

-- operation listSchedules
-- sort id: s.id::bigint
-- sort name: "left"(s.name, 200)::text, s.id::bigint
-- sort created_at: s.created_at::timestamptz, s.id::bigint
-- sort next_run_at: COALESCE(x.next_run_at, 'infinity')::timestamptz, s.id::bigint
SELECT {{key}} AS key, {{schedule}} AS item
FROM sync.sync_schedules s
JOIN LATERAL (SELECT y.* FROM sync.schedule_status y WHERE y.schedule_id = s.id AND y.tenant_id = {{tenant}} {{one_by_one}}) x ON true
WHERE s.tenant_id = {{tenant}}
--? connection_id: AND s.connection_id = ($1::jsonb ->> 'connection_id')::bigint
--? is_active: AND s.is_active = ($1::jsonb ->> 'is_active')::boolean
--? schedule_type: AND s.schedule_type = ANY (ARRAY(SELECT jsonb_array_elements_text($1::jsonb -> 'schedule_type')))
--? name: AND strpos(lower(s.name), lower($1::jsonb ->> 'name')) > 0
{{after}}
{{order}}
LIMIT {{limit}} + 1;

-- operation createSchedule
SELECT set_config('sync_gateway.id', sync.create_schedule(($2::jsonb ->> 'connection_id')::bigint, $2::jsonb ->> 'name', $2::jsonb ->> 'schedule_type',
    at => ($2::jsonb ->> 'at')::time, days => {{days}}, cron_expression => $2::jsonb ->> 'cron_expression',
    timezone => COALESCE($2::jsonb ->> 'timezone', 'UTC'), description => $2::jsonb ->> 'description',
    job_type => COALESCE($2::jsonb ->> 'job_type', 'incremental'), priority => COALESCE(($2::jsonb ->> 'priority')::int, 0),
    config => COALESCE(NULLIF($2::jsonb -> 'config', 'null'), '{}'),
    notification_settings => COALESCE(NULLIF($2::jsonb -> 'notification_settings', 'null'), '{}'),
    starts_at => ($2::jsonb ->> 'starts_at')::timestamptz, ends_at => ($2::jsonb ->> 'ends_at')::timestamptz,
    jitter_seconds => COALESCE(($2::jsonb ->> 'jitter_seconds')::int, 0), dst_gap => COALESCE($2::jsonb ->> 'dst_gap', 'run_after'),
    dst_fold => COALESCE($2::jsonb ->> 'dst_fold', 'first'), catch_up => COALESCE($2::jsonb ->> 'catch_up', 'latest'),
    catchup_limit => COALESCE(($2::jsonb ->> 'catchup_limit')::int, 10),
    catchup_max_age => make_interval(secs => COALESCE(($2::jsonb ->> 'catchup_max_age_seconds')::int, 604800)),
    overlap => COALESCE($2::jsonb ->> 'overlap', 'skip'))::text, true);
SELECT {{schedule}} AS body, sync.object_version('schedule', s.id) AS version, '/api/v2/sync-schedules/' || s.id AS location
{{from_schedules}} AND s.id = {{made}};

-- operation getSchedule
{{show_schedule}};

-- Everything that the body leaves away goes back to its default.
-- operation replaceSchedule
SELECT sync.expect_version('schedule', {{id}}, {{if_match}});
SELECT sync.update_schedule({{id}}, name => $2::jsonb ->> 'name', schedule_type => $2::jsonb ->> 'schedule_type',
    at => CASE WHEN b.timed THEN COALESCE(($2::jsonb ->> 'at')::time, CASE $2::jsonb ->> 'schedule_type' WHEN 'hourly' THEN '00:00' ELSE '02:00' END::time) END,
    days => CASE WHEN b.timed THEN COALESCE({{days}}, CASE $2::jsonb ->> 'schedule_type' WHEN 'daily' THEN '{*}' WHEN 'weekly' THEN '{0}'
                                                                                         WHEN 'monthly' THEN '{1}' END::text[]) END,
    cron_expression => $2::jsonb ->> 'cron_expression', timezone => COALESCE($2::jsonb ->> 'timezone', 'UTC'),
    job_type => COALESCE($2::jsonb ->> 'job_type', 'incremental'), priority => COALESCE(($2::jsonb ->> 'priority')::int, 0),
    config => COALESCE(NULLIF($2::jsonb -> 'config', 'null'), '{}'),
    notification_settings => COALESCE(NULLIF($2::jsonb -> 'notification_settings', 'null'), '{}'),
    starts_at => COALESCE(($2::jsonb ->> 'starts_at')::timestamptz, '-infinity'), ends_at => COALESCE(($2::jsonb ->> 'ends_at')::timestamptz, 'infinity'),
    jitter_seconds => COALESCE(($2::jsonb ->> 'jitter_seconds')::int, 0), dst_gap => COALESCE($2::jsonb ->> 'dst_gap', 'run_after'),
    dst_fold => COALESCE($2::jsonb ->> 'dst_fold', 'first'), catch_up => COALESCE($2::jsonb ->> 'catch_up', 'latest'),
    catchup_limit => COALESCE(($2::jsonb ->> 'catchup_limit')::int, 10),
    catchup_max_age => make_interval(secs => COALESCE(($2::jsonb ->> 'catchup_max_age_seconds')::int, 604800)),
    overlap => COALESCE($2::jsonb ->> 'overlap', 'skip'))
FROM (SELECT $2::jsonb ->> 'cron_expression' IS NULL AND $2::jsonb ->> 'schedule_type' NOT IN ('realtime', 'custom') AS timed) b;
UPDATE sync.sync_schedules s SET description = $2::jsonb ->> 'description' WHERE s.id = {{id}};
{{show_schedule}};

-- operation updateSchedule
SELECT sync.expect_version('schedule', {{id}}, {{if_match}});
SELECT sync.update_schedule({{id}}, name => $2::jsonb ->> 'name', schedule_type => $2::jsonb ->> 'schedule_type',
    at => ($2::jsonb ->> 'at')::time, days => {{days}}, cron_expression => $2::jsonb ->> 'cron_expression', timezone => $2::jsonb ->> 'timezone',
    job_type => $2::jsonb ->> 'job_type', priority => ($2::jsonb ->> 'priority')::int, config => NULLIF($2::jsonb -> 'config', 'null'),
    notification_settings => NULLIF($2::jsonb -> 'notification_settings', 'null'),
    starts_at => CASE WHEN $2::jsonb ? 'starts_at' THEN COALESCE(($2::jsonb ->> 'starts_at')::timestamptz, '-infinity') END,
    ends_at => CASE WHEN $2::jsonb ? 'ends_at' THEN COALESCE(($2::jsonb ->> 'ends_at')::timestamptz, 'infinity') END,
    jitter_seconds => ($2::jsonb ->> 'jitter_seconds')::int, dst_gap => $2::jsonb ->> 'dst_gap', dst_fold => $2::jsonb ->> 'dst_fold',
    catch_up => $2::jsonb ->> 'catch_up', catchup_limit => ($2::jsonb ->> 'catchup_limit')::int,
    catchup_max_age => make_interval(secs => ($2::jsonb ->> 'catchup_max_age_seconds')::int), overlap => $2::jsonb ->> 'overlap');
UPDATE sync.sync_schedules s SET description = $2::jsonb ->> 'description' WHERE s.id = {{id}} AND $2::jsonb ? 'description';
{{show_schedule}};

-- operation deleteSchedule
SELECT sync.expect_version('schedule', {{id}}, {{if_match}});
SELECT sync.delete_schedule({{id}}), 204 AS status;

-- operation triggerSchedule
SELECT set_config('sync_gateway.id', sync.trigger_schedule({{id}})::text, true);
{{show_triggered}};

-- operation pauseSchedule
SELECT sync.pause_schedule({{id}}, $2::jsonb ->> 'reason', ($2::jsonb ->> 'resume_at')::timestamptz);
{{show_schedule}};

-- operation resumeSchedule
SELECT sync.resume_schedule({{id}});
{{show_schedule}};

-- operation skipNextOfSchedule
SELECT json_build_object('skipped', sync.skip_next({{id}})) AS body;

-- operation scheduleHistory
-- sort fire_id: h.fire_id::bigint
{{find_schedule}};
SELECT {{key}} AS key,
    json_build_object('id', h.fire_id, 'outcome', h.outcome, 'first_planned_at', h.first_planned_at, 'last_planned_at', h.last_planned_at,
        'planned_count', h.planned_count, 'reason', h.reason, 'execution', CASE WHEN h.job_id IS NOT NULL THEN s.connection_id || '-' || h.job_id END,
        'status', h.run_status, 'started_at', h.started_at, 'finished_at', h.finished_at, 'attempts', h.attempts, 'pages', h.pages,
        'records_processed', h.records_processed, 'error_message', h.error_message) AS item
FROM sync.schedule_history({{id}}, ($1::jsonb #>> '{after,0}')::bigint, {{limit}} + 1,
    CASE WHEN $1::jsonb ? 'outcome' THEN ARRAY(SELECT jsonb_array_elements_text($1::jsonb -> 'outcome')) END) h
JOIN sync.sync_schedules s ON s.id = {{id}}
WHERE true {{after}}
{{order}};

-- operation previewSchedule
SELECT json_build_object('items', COALESCE(json_agg(json_build_object('run_at', p.run_at, 'local_time', p.local_time, 'runs', p.runs, 'note', NULLIF(p.note, ''))
                                                    ORDER BY p.run_at, p.local_time), '[]')) AS body
FROM sync.preview_schedule({{id}}, ($1::jsonb ->> 'count')::int, COALESCE(($1::jsonb ->> 'after')::timestamptz, now())) p;

-- operation explainSchedule
{{find_schedule}};
SELECT json_build_object('items', COALESCE(json_agg(json_build_object('aspect', e.aspect, 'verdict', e.verdict, 'detail', e.detail) ORDER BY e.ordinality), '[]')) AS body
FROM sync.explain_schedule({{id}}, ($1::jsonb ->> 'at')::timestamptz) WITH ORDINALITY e;
