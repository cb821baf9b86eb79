module kubewitness.dev/tests-flood

go 1.26
