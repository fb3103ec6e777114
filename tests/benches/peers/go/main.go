// A worker that takes an incident through the same lifecycle as Harmony's blueprints, as somebody who knows Temporal
// would write it by hand: four workflows, an approval by signal or update with an escalation timer, and no log of its
// own. The benchmark `peers` drives both and compares them.
package main

import (
	"log"
	"log/slog"
	"os"

	"go.temporal.io/sdk/client"
	tlog "go.temporal.io/sdk/log"
	"go.temporal.io/sdk/worker"
)

func main() {
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	temporal, err := client.Dial(client.Options{
		HostPort:  setting("TEMPORAL_ADDRESS"),
		Namespace: setting("TEMPORAL_NAMESPACE"),
		Logger:    tlog.NewStructuredLogger(logger),
	})
	if err != nil {
		log.Fatalln("Temporal does not answer:", err)
	}
	defer temporal.Close()

	w := worker.New(temporal, setting("TASK_QUEUE"), worker.Options{})
	w.RegisterWorkflow(Initiate)
	w.RegisterWorkflow(Remediate)
	w.RegisterWorkflow(CloseOut)
	w.RegisterWorkflow(PostMortem)
	w.RegisterActivity(&Activities{
		slack:      vendor{base: setting("SLACK_BASE_URL"), authorization: "Bearer " + setting("SLACK_BOT_TOKEN")},
		pagerduty:  vendor{base: setting("PAGERDUTY_BASE_URL"), authorization: "Token token=" + setting("PAGERDUTY_API_KEY"), from: setting("PAGERDUTY_FROM"), accept: "application/vnd.pagerduty+json;version=2"},
		statuspage: vendor{base: setting("STATUSPAGE_BASE_URL"), authorization: "OAuth " + setting("STATUSPAGE_API_KEY")},
		confluence: vendor{base: setting("CONFLUENCE_BASE_URL"), authorization: basic(setting("CONFLUENCE_EMAIL"), setting("CONFLUENCE_API_TOKEN"))},
		service:    setting("PAGERDUTY_SERVICE_ID"),
		page:       setting("STATUSPAGE_PAGE_ID"),
		space:      setting("CONFLUENCE_SPACE_KEY"),
		runbooks:   setting("HARMONY_RUNBOOKS"),
	})
	if err := w.Run(worker.InterruptCh()); err != nil {
		log.Fatalln("the worker ended:", err)
	}
}

func setting(name string) string {
	value := os.Getenv(name)
	if value == "" {
		log.Fatalln("set", name)
	}
	return value
}
