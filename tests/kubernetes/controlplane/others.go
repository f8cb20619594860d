package main

import (
	"context"
	"os"

	"github.com/spf13/pflag"
	"k8s.io/component-base/cli"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
	kwokconfig "sigs.k8s.io/kwok/pkg/config"
	kwok "sigs.k8s.io/kwok/pkg/kwok/cmd"
	kwoklog "sigs.k8s.io/kwok/pkg/log"
	"sigs.k8s.io/kwok/pkg/utils/signals"
)

// others run a node's agents, and nodes that are not there (KWOK).
var others = map[string]func() error{
	"kube-proxy": func() error {
		os.Exit(cli.Run(proxy.NewProxyCommand()))
		return nil
	},
	"kubelet": func() error {
		os.Exit(cli.Run(kubelet.NewKubeletCommand(context.Background())))
		return nil
	},
	"kwok": runKwok,
}

// runKwok gives kwok a command line of its own: component-base has put another
// flag named "version" on the shared one.
func runKwok() error {
	pflag.CommandLine = pflag.NewFlagSet("kwok", pflag.ContinueOnError)
	flags := pflag.NewFlagSet("global", pflag.ContinueOnError)
	flags.ParseErrorsAllowlist.UnknownFlags = true
	ctx, _ := kwoklog.InitFlags(signals.SetupSignalContext(), flags)
	ctx, err := kwokconfig.InitFlags(ctx, flags)
	if err != nil {
		return err
	}
	command := kwok.NewCommand(ctx)
	command.PersistentFlags().AddFlagSet(flags)
	return command.ExecuteContext(ctx)
}
