# Runs one cell in a container. $1 is the file that Kubernetes reads the container's last message from, $2 a folder that
# can be written to; HARMONY_CELL has the commands.
#
# The first process of a container ignores what it has no trap for, and its end ends all others. So this shell only passes
# SIGTERM on, to the process group that the cell has of its own, and waits; the cell runs in a second one, from the same
# text.
set +o posix
if [[ $1 != inside ]]; then
    set -m
    bash --noprofile --norc -c "$BASH_EXECUTION_STRING" harmony inside "$@" </dev/null &
    cell=$!
    set +m
    trap 'kill -TERM -- "-$cell"' TERM
    exec >/dev/null 2>&1
    while :; do
        wait "$cell"
        status=$?
        # A signal ends the waiting, too.
        kill -0 "$cell" || break
    done
    exit "$status"
fi
readonly __harmony_message=$2 __harmony_cell=$3/cell.sh
builtin printf '%s' "$HARMONY_CELL" >"$__harmony_cell"
unset HARMONY_CELL
shift 3
declare -A __harmony_before
for __harmony_name in $(builtin compgen -e); do
    __harmony_before[$__harmony_name]=${!__harmony_name}
done

# Leaves `name=value` of every variable that was exported or changed, a line each, with \ and the end of a line escaped;
# `!name` where there is no room, and a point to show that the list is complete. Kubernetes takes 4096 bytes.
__harmony_carry() (
    set +Ceux
    IFS=$' \t\n'
    __harmony_names=() __harmony_lines=() __harmony_text='' __harmony_room=3800
    __harmony_slash='\' __harmony_end=$'\n'
    for __harmony_name in $(builtin compgen -e); do
        [[ ${__harmony_before[$__harmony_name]+set} && ${__harmony_before[$__harmony_name]} == "${!__harmony_name}" ]] && continue
        __harmony_value=${!__harmony_name}
        __harmony_value=${__harmony_value//"$__harmony_slash"/"$__harmony_slash$__harmony_slash"}
        __harmony_value=${__harmony_value//"$__harmony_end"/"${__harmony_slash}n"}
        __harmony_names+=("$__harmony_name")
        __harmony_lines+=("$__harmony_name=$__harmony_value$__harmony_end")
    done
    # From here on a length is one in bytes.
    LC_ALL=C
    for __harmony_at in "${!__harmony_lines[@]}"; do
        __harmony_line=${__harmony_lines[__harmony_at]}
        if ((${#__harmony_line} > __harmony_room)); then
            __harmony_line="!${__harmony_names[__harmony_at]}$__harmony_end"
            ((${#__harmony_line} <= __harmony_room)) || continue
        fi
        __harmony_text+=$__harmony_line
        ((__harmony_room -= ${#__harmony_line}))
    done
    builtin printf 'harmony-exports/1\n%s.' "$__harmony_text" >"$__harmony_message"
) 2>/dev/null
