#!/usr/bin/env bash
# Deploys what is new on a branch: each new commit is tested in a folder of its own, then rolled out.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here")
state=${AUTO_STATE:-$root/.auto}

usage() {
    cat <<'USAGE'
usage: deploy/auto.sh --env E [--branch B] [--remote R] [--interval S] [--once] [--test COMMAND]

Fetches a branch again and again. Its newest commit, where it is new, is checked out into a worktree of its own, tested
there, and deployed with that worktree's deploy/deploy.sh --mode rolling. A commit that failed, in either way, is not
tried again; what serves goes on, and the next commit may mend it. Commits between two looks are left out.

  --env E          compose, testing, staging or production
  --branch B       (main)
  --remote R       (origin)
  --interval S     seconds between two looks                       (60)
  --once           look once: exit code 0 nothing new, or deployed; 1 it failed
  --test COMMAND   run by bash in the worktree                     (make test)

What was tried is in .auto/E.tried, what tests and deployments said in .auto/COMMIT.log (AUTO_STATE names another folder);
the worktrees of the last two deployed commits stay, as services have their configuration from there. DEPLOY names
another program for deploy.sh.
USAGE
}

fail() {
    echo "auto.sh: $1" >&2
    exit 2
}

value() { [ "$#" -ge 2 ] || fail "$1 needs a value; --help shows what there is"; }
said() { printf '%s  %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$1"; }

newest() { # the branch's commit, as the remote has it now
    git -C "$root" fetch --quiet "$remote" "+refs/heads/$branch:refs/remotes/$remote/$branch" &&
        git -C "$root" rev-parse "refs/remotes/$remote/$branch"
}

tried() { [ -f "$memory" ] && grep -q "^$1 " "$memory"; }

# A commit is written down before anything is done with it: one that brings this script down is not tried again either.
remember() { # COMMIT OUTCOME
    { [ ! -f "$memory" ] || grep -v "^$1 " "$memory" || true; } >"$memory.part"
    echo "$1 $2" >>"$memory.part"
    mv "$memory.part" "$memory"
}

forget_trees() { # but those of the last two that were deployed
    local tree keep
    keep=$(awk '$2 == "deployed" { print $1 }' "$memory" | tail -n 2)
    for tree in "$state"/trees/*/; do
        [ -d "$tree" ] || continue
        if ! grep -qx "$(basename "$tree")" <<<"$keep"; then git -C "$root" worktree remove --force "$tree"; fi
    done
}

attempt() { # COMMIT: 0 where it was deployed
    local tree=$state/trees/$1 log=$state/$1.log short=${1:0:12}
    said "$short is new on $branch: $(git -C "$root" log -1 --format=%s "$1")"
    remember "$1" begun
    if [ ! -d "$tree" ]; then git -C "$root" worktree add --quiet --detach "$tree" "$1"; fi
    if ! (cd "$tree" && bash -c "$test_command") >"$log" 2>&1 </dev/null; then
        remember "$1" untested
        said "$short fails its tests and is not deployed: $log"
        return 1
    fi
    said "$short passes its tests: deploying"
    if ! DEPLOY_STATE=${DEPLOY_STATE:-$root/.deployed} "${DEPLOY:-$tree/deploy/deploy.sh}" \
        --env "$env" --mode rolling --version "$1" >>"$log" 2>&1 </dev/null; then
        remember "$1" refused
        said "$short could not be deployed: $(tail -n 1 "$log")"
        return 1
    fi
    remember "$1" deployed
    said "$short is deployed to $env"
}

look() { # 0 nothing new, or deployed
    local commit outcome=0
    commit=$(newest) || { said "$remote has no $branch for us now: looking again later"; return 1; }
    if tried "$commit"; then return 0; fi
    attempt "$commit" || outcome=1
    forget_trees
    return "$outcome"
}

env='' branch=main remote=origin interval=60 once='' test_command='make test'
while [ "$#" -gt 0 ]; do
    case $1 in
        --help | -h) usage; exit 0 ;;
        --env) value "$@"; env=$2; shift 2 ;;
        --branch) value "$@"; branch=$2; shift 2 ;;
        --remote) value "$@"; remote=$2; shift 2 ;;
        --interval) value "$@"; interval=$2; shift 2 ;;
        --test) value "$@"; test_command=$2; shift 2 ;;
        --once) once=yes; shift ;;
        *) fail "there is no option $1; --help shows what there is" ;;
    esac
done
case $env in
    compose | testing | staging | production) ;;
    *) fail "--env should be compose, testing, staging or production, not ${env:-nothing}" ;;
esac
[[ $interval =~ ^[0-9]+$ ]] || fail "--interval should be a whole number of seconds, not $interval"
command -v git >/dev/null || fail "git is not installed here"
git -C "$root" remote get-url "$remote" >/dev/null 2>&1 || fail "$root has no remote $remote: nothing to fetch from"
mkdir -p "$state/trees"
memory=$state/$env.tried
exec 8>"$state/$env.lock"
flock --nonblock 8 || fail "another one looks after $env already"
interrupted() { # what was under way has not failed: it is tried again
    if [ -f "$memory" ]; then sed -i '/ begun$/d' "$memory"; fi
    said "interrupted"
    exit 130
}
trap interrupted INT TERM

while :; do
    code=0
    look || code=1
    [ -z "$once" ] || exit "$code"
    sleep "$interval" 8>&- & # waited for, so that a signal need not wait; and without the lock
    wait "$!"
done
