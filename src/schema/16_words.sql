-- How the engine puts things into words.

CREATE FUNCTION sync._span(length interval) RETURNS text
LANGUAGE sql IMMUTABLE STRICT
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN x.s < 120 THEN round(x.s) || ' s'
                WHEN x.s < 7200 THEN round(x.s / 60) || ' min'
                WHEN x.s < 172800 THEN round(x.s / 3600) || ' h'
                ELSE round(x.s / 86400) || ' days' END
    FROM (SELECT GREATEST(extract(epoch FROM length), 0) AS s) x
$$;
COMMENT ON FUNCTION sync._span(interval) IS 'Internal: a length of time in words, in one unit';

CREATE FUNCTION sync._tally(amount bigint, bound bigint, what text) RETURNS text
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN amount > bound THEN 'more than ' || bound ELSE amount::text END || ' ' || what || CASE WHEN amount <> 1 THEN 's' ELSE '' END
$$;
COMMENT ON FUNCTION sync._tally(bigint, bigint, text) IS 'Internal: how many of something, where counting ended behind a bound';

CREATE FUNCTION sync._one_line(words text, most int DEFAULT 150) RETURNS text
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN length(x.line) > most THEN "left"(x.line, most - 1) || '…' ELSE x.line END
    FROM (SELECT btrim(regexp_replace("left"(words, 10 * most), '[[:cntrl:][:space:]]+', ' ', 'g')) AS line) x
$$;
COMMENT ON FUNCTION sync._one_line(text, int) IS 'Internal: words on one line, cut where they are long';
