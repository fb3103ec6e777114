#!/bin/bash
# Run by the image of PostgreSQL when it makes its cluster: an account and a database for Harmony, and for Temporal.
set -euo pipefail
psql --set ON_ERROR_STOP=1 --username postgres \
    --set harmony="$HARMONY_DATABASE_PASSWORD" --set temporal="$TEMPORAL_DATABASE_PASSWORD" <<'SQL'
CREATE ROLE harmony LOGIN PASSWORD :'harmony';
CREATE ROLE temporal LOGIN PASSWORD :'temporal';
CREATE DATABASE harmony OWNER harmony;
CREATE DATABASE temporal OWNER temporal;
CREATE DATABASE temporal_visibility OWNER temporal;
SQL
