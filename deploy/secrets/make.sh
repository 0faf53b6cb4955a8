#!/bin/sh
# Makes what compose's services keep secret, each in a volume that only those have who need it. What is there already
# stays: passwords outlive `docker compose down`, as the database that was made with them does. Nothing is printed.
set -eu
umask 027 # our group may read: services with another user are given it (group_add)
cd "${1:-/run/arbhub}"

secret() {
    [ -s "$1" ] && return
    od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >"$1.part"
    [ "$(wc -c <"$1.part")" -eq 64 ] || { echo "make-secrets: no random bytes to be had" >&2; exit 1; }
    mv "$1.part" "$1"
}

secret token/token
secret ledger/password
secret redis/password
secret grafana/password

# libpq takes passwords from such a file only where nobody but its owner can read it.
(umask 077 && printf 'postgres:5432:arbhub:arbhub:%s\n' "$(cat ledger/password)" >ledger/pgpass)
printf 'requirepass %s\ndir /data\nappendonly yes\nmaxmemory 32mb\nmaxmemory-policy noeviction\n' \
    "$(cat redis/password)" >redis/redis.conf
