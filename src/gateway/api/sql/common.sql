-- What the statements of several subjects have in common. operation_sql.hpp says how these files are read.

-- define tenant
current_setting('sync_engine.tenant_id')

-- define id
($1::jsonb ->> 'id')::bigint

-- define limit
($1::jsonb ->> 'limit')::int

-- What is behind a tag's dot is of the answer, not of what is configured.
-- define if_match
CASE WHEN $1::jsonb ->> 'If-Match' <> '*'
     THEN regexp_split_to_array(regexp_replace(replace(replace($1::jsonb ->> 'If-Match', 'W/', ''), '"', ''), '\.[^,\s]*', '', 'g'), '\s*,\s*') END

-- What the statement before made, which its transaction remembers.
-- define made
NULLIF(current_setting('sync_gateway.id', true), '')::bigint

