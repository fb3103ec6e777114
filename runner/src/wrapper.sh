# Runs one cell. HARMONY_CELL_RUN is the private directory of this run: cell.sh
# is there, and the exported variables are left there at the end. It also marks
# every process of the cell, wherever it moves.
#
# Standard input is a pipe that nobody writes to and whose other end the runner
# holds. When it closes the runner is gone, however it went, and what is left of
# the cell is killed by a watcher. The watcher is forked twice, so that the
# cell's own `wait`, `jobs` and `$!` know nothing of it, stays in the cell's
# process group (the group's number cannot be given away while it lives), and is
# killed with the group when the cell has ended.
set +o posix
readonly __harmony_dir=$HARMONY_CELL_RUN __harmony_cell=$HARMONY_CELL_RUN/cell.sh
exec 9<&0 </dev/null
( (
    trap '' HUP INT QUIT TERM
    exec >/dev/null 2>&1
    while read -r _ <&9; do :; done
    for _ in 1 2 3 4 5; do
        found=
        for process in /proc/[0-9]*; do
            id=${process#/proc/}
            [[ $id == "$BASHPID" ]] && continue
            while IFS= read -r -d '' entry; do
                [[ $entry == "HARMONY_CELL_RUN=$__harmony_dir" ]] || continue
                kill -KILL "$id" && found=1
                break
            done <"$process/environ"
        done
        [[ $found ]] || break
    done
    rm -rf -- "$__harmony_dir"
    kill -KILL -- "-$$"
) & )
exec 9<&-

# Leaves `name=value` of every exported variable, each ended by a NUL, and one
# more NUL to show that the list is complete.
__harmony_carry() (
    set +Ceux
    IFS=$' \t\n'
    {
        if names=$(builtin compgen -e); then
            for name in $names; do
                builtin printf '%s=%s\0' "$name" "${!name}"
            done
        else
            command env -0
        fi
        builtin printf '\0'
    } >"$__harmony_dir/exports"
) 2>/dev/null
