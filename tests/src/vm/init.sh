#!/bin/busybox sh
# The first process of a virtual machine: plays the script, hands out what it left, and turns the machine off.
/bin/busybox mkdir -p /bin /sbin /proc /sys /dev /tmp /out /run
/bin/busybox --install -s /bin
export PATH=/bin:/sbin HOME=/
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs tmpfs /tmp
mount -t cgroup2 cgroup2 /sys/fs/cgroup
# Not every kernel has these.
mount -t securityfs securityfs /sys/kernel/security 2>/dev/null
mount -t tracefs tracefs /sys/kernel/tracing 2>/dev/null
ip link set lo up
# What is said from here on is handed out byte by byte: no line ends added, and no word of the kernel but its last.
stty -opost </dev/console
echo 1 >/proc/sys/kernel/printk
# Whoever started the machine may be gone.
(sleep "$(cat /limit)"; poweroff -f) &

cd /
sh /script >/out/stdout 2>&1 </dev/null
status=$?
cd /out
for file in *; do
	echo "@@@ file $(wc -c <"$file") $file"
	cat "$file"
done
echo "@@@ release $(uname -r)"
echo "@@@ status $status"
sync
poweroff -f
