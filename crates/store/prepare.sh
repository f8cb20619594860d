#!/bin/sh
# Writes .sqlx: what Postgres says about the types of every query in this crate.
#
#   DATABASE_URL=postgres://… crates/store/prepare.sh    uses that database: empty, or with the schema as it is now
#   crates/store/prepare.sh                              uses a Postgres of its own, gone afterwards
#   crates/store/prepare.sh --check                      fails if .sqlx is not what it would write
#
# Run it after a change of a query or a migration, and commit .sqlx. Needs psql; without DATABASE_URL
# also initdb and pg_ctl, from PATH or from where Debian puts them.
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
server=
as() { if [ "$(id -u)" = 0 ]; then runuser -u postgres -- "$@"; else "$@"; fi; }
end() {
    [ -z "$server" ] || as "$bin/pg_ctl" -D "$work/data" -m immediate -s stop || true
    rm -rf "$work"
}
trap end EXIT
trap 'exit 130' INT TERM

if [ -z "${DATABASE_URL:-}" ]; then
    bin=$(dirname "$(command -v initdb || ls -d /usr/lib/postgresql/*/bin/initdb 2>/dev/null | sort -V | tail -n 1)")
    [ -x "$bin/initdb" ] || { echo "initdb not found: install postgresql or set DATABASE_URL" >&2; exit 1; }
    [ "$(id -u)" != 0 ] || chown postgres "$work"
    as "$bin/initdb" -D "$work/data" -U sluice --auth=trust --no-locale --encoding=UTF8 --no-sync >/dev/null
    # No TCP: the socket's directory is ours alone, so no port can be taken.
    as "$bin/pg_ctl" -D "$work/data" -l "$work/log" -w -s -o "-c listen_addresses= -k $work -c fsync=off" start
    server=yes
    DATABASE_URL="postgres://sluice@localhost/postgres?host=$work"
fi
export DATABASE_URL
if [ -z "$(psql -X -A -t "$DATABASE_URL" -c "SELECT to_regclass('app')")" ]; then
    psql -X -q -v ON_ERROR_STOP=1 "$DATABASE_URL" -c 'CREATE TABLE _sqlx_migrations (version bigint PRIMARY KEY)'
    for migration in ../../migrations/*.sql; do
        psql -X -q -v ON_ERROR_STOP=1 "$DATABASE_URL" -f "$migration" -1
    done
fi

fresh="$work/sqlx"
mkdir "$fresh"
touch src/lib.rs
SQLX_OFFLINE=false SQLX_OFFLINE_DIR="$fresh" cargo check --quiet -p store
if [ "${1:-}" = --check ]; then
    diff -r "$fresh" .sqlx || { echo ".sqlx is out of date: run crates/store/prepare.sh" >&2; exit 1; }
else
    rm -rf .sqlx
    mkdir .sqlx
    cp "$fresh"/*.json .sqlx/
    touch src/lib.rs
fi
