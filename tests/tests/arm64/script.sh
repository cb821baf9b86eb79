# Played in a virtual machine: a kubelet's server, the agent beside it, calls, and at the same instructions the kernel's own probes, which
# count what the agent must leave out.
# The server's probes are named `first` and `last`; OFFSETS_OF_… are put in by the test.
# What is said goes to the console, which is shown if the machine does not end.
say() { echo "$*" >/dev/console; }
token() { echo "$1" >"/tmp/$1"; }
for name in reader fallback nobody; do token "$name"; done

# call NAME TOKEN COUNT WORKERS PATH [OPTION…]: what the caller was told goes to /out/calls.
call() {
	name=$1 token=$2 count=$3 workers=$4 path=$5
	shift 5
	[ "$token" = - ] || set -- --token-file "/tmp/$token" "$@"
	say "call $name"
	echo "call $name" >>/out/calls
	case $path in http*) url=$path ;; *) url="https://127.0.0.1:10250$path" ;; esac
	kubeletcall --url "$url" --count "$count" --concurrency "$workers" --timeout 120s "$@" >>/out/calls 2>>/out/errors
}
upgrade() { call "$@" --header "Connection: Upgrade" --header "Upgrade: websocket" --header "Sec-WebSocket-Version: 13" \
	--header "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==" --header "Sec-WebSocket-Protocol: v4.channel.k8s.io"; }

server --read-only-port 10255 >/out/server 2>&1 &
kubeletcall --url https://127.0.0.1:10250/healthz --while-refused 120s --timeout 120s >/dev/null || exit 10

say "the server serves"
kubewitness doctor >/out/doctor 2>&1
kubewitness run --node-name node1 --rbac off --events /out/events >/out/agent 2>&1 &
agent=$!
until wget -qO- http://127.0.0.1:9464/readyz 2>/dev/null | grep -q ^attached; do
	kill -0 $agent || exit 11
	sleep 0.2
done
say "the agent watches"
cd /sys/kernel/tracing || exit 12
echo 'p:arm64/first /bin/server:OFFSET_OF_FIRST pstate=%pstate' >>uprobe_events || exit 13
echo 'p:arm64/last /bin/server:OFFSET_OF_LAST pstate=%pstate' >>uprobe_events || exit 13
echo 8192 >buffer_size_kb
echo 1 >events/arm64/enable
cd /

call reader reader 80 40 /pods
call fallback fallback 60 30 /pods
call nobody nobody 40 4 /pods
call none - 30 3 /pods
call metrics reader 20 4 /metrics/probes
call unknown reader 10 2 /nothing
# A connection each: each has a goroutine of its own, and some of their stacks grow just where the server begins.
call open - 200 200 http://127.0.0.1:10255/pods
call run fallback 10 2 '/run/default/web/main?cmd=id' --method POST
upgrade exec fallback 20 5 '/exec/default/web/main?command=id&output=1'
upgrade refused reader 10 2 '/exec/default/web/main?command=id&output=1'
call panic fallback 5 1 '/containerLogs/default/panic/main'

# The last of a connection may still be on its way out.
sleep 2
echo 0 >/sys/kernel/tracing/events/arm64/enable
cat /sys/kernel/tracing/trace >/out/trace
wget -qO /out/metrics http://127.0.0.1:9464/metrics
kill -TERM $agent
wait $agent
