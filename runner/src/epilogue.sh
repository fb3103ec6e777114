# How both wrappers run the commands in $__harmony_cell, and have __harmony_carry keep what they export.

# A cell may set an EXIT trap of its own, which replaces ours. So variables are also kept where it says `exit`, and where
# its last line has been reached.
exit() {
    local status=$?
    [[ ${BASHPID:-$$} != "$$" ]] || __harmony_carry || :
    if (($#)); then builtin exit "$@"; fi
    builtin exit "$status"
}
trap '__harmony_carry || :' EXIT

set -e -o pipefail
. "$__harmony_cell"
{
    __harmony_status=$?
    set +x
    __harmony_carry || :
} 2>/dev/null
builtin exit "$__harmony_status"
