#!/bin/sh
# Stands in for the suites' set_sysctls.py: notes the settings where the shared object reads them,
# and makes the script that should take them back.
file="${TMPDIR:-/tmp}/packetdrill_sysctls_${PACKETDRILL_PID:-0}"
restore="/tmp/sysctl_restore_${PACKETDRILL_PID:-0}.sh"
for argument; do
    echo "$argument" >> "$file"
done
printf '#!/bin/sh\nexit 0\n' > "$restore"
chmod +x "$restore"
