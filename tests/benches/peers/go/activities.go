package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"time"

	"go.temporal.io/sdk/activity"
)

// Activities call the vendors and run cells.
type Activities struct {
	slack, pagerduty, statuspage, confluence vendor
	service, page, space, runbooks           string
}

type object = map[string]any

// OpenChannel makes the incident's channel, with its topic and those who are to be in it.
func (a *Activities) OpenChannel(ctx context.Context, incident Incident) (string, error) {
	var made struct {
		Channel struct {
			ID string `json:"id"`
		} `json:"channel"`
	}
	name := strings.ToLower(incident.ID + "-" + incident.Title)
	if err := a.callSlack(ctx, "conversations.create", object{"name": name}, &made); err != nil {
		return "", err
	}
	channel := made.Channel.ID
	steps := []struct {
		method string
		body   object
	}{
		{"conversations.setPurpose", object{"channel": channel, "purpose": incident.ID}},
		{"conversations.setTopic", object{"channel": channel, "topic": incident.ID + " " + incident.Severity + " " + incident.Title}},
		{"conversations.invite", object{"channel": channel, "users": strings.Join(incident.Invite, ",")}},
	}
	for _, step := range steps {
		if err := a.callSlack(ctx, step.method, step.body, nil); err != nil {
			return "", err
		}
	}
	return channel, nil
}

// Post posts a message and gives its time stamp.
func (a *Activities) Post(ctx context.Context, channel, text string) (string, error) {
	var posted struct {
		TS string `json:"ts"`
	}
	body := object{"channel": channel, "text": text, "blocks": section(text)}
	err := a.callSlack(ctx, "chat.postMessage", body, &posted)
	return posted.TS, err
}

// PostPinned posts a message that stays on top.
func (a *Activities) PostPinned(ctx context.Context, channel, text string) (string, error) {
	ts, err := a.Post(ctx, channel, text)
	if err != nil {
		return "", err
	}
	return ts, a.callSlack(ctx, "pins.add", object{"channel": channel, "timestamp": ts}, nil)
}

// Update replaces a message.
func (a *Activities) Update(ctx context.Context, channel, ts, text string) error {
	body := object{"channel": channel, "ts": ts, "text": text, "blocks": section(text)}
	return a.callSlack(ctx, "chat.update", body, nil)
}

func section(text string) []object {
	return []object{{"type": "section", "text": object{"type": "mrkdwn", "text": text}}}
}

// PageOnCall makes PagerDuty's incident, unless an earlier try has.
func (a *Activities) PageOnCall(ctx context.Context, incident Incident, title string) (string, error) {
	key := incident.ID
	if title == "" {
		title = incident.ID + ": " + incident.Title
	} else {
		key += "/escalation"
	}
	var found struct {
		Incidents []struct {
			ID string `json:"id"`
		} `json:"incidents"`
	}
	if err := a.pagerduty.call(ctx, http.MethodGet, "/incidents?incident_key="+escaped(key), nil, &found); err != nil {
		return "", err
	}
	if len(found.Incidents) > 0 {
		return found.Incidents[0].ID, nil
	}
	var made struct {
		Incident struct {
			ID string `json:"id"`
		} `json:"incident"`
	}
	body := object{"incident": object{
		"type":         "incident",
		"title":        title,
		"service":      object{"id": a.service, "type": "service_reference"},
		"urgency":      "high",
		"incident_key": key,
		"body":         object{"type": "incident_body", "details": "Severity " + incident.Severity},
	}}
	if err := a.pagerduty.call(ctx, http.MethodPost, "/incidents", body, &made); err != nil {
		return "", err
	}
	return made.Incident.ID, nil
}

// ResolvePage resolves PagerDuty's incident.
func (a *Activities) ResolvePage(ctx context.Context, id string) error {
	body := object{"incident": object{"type": "incident_reference", "status": "resolved"}}
	return a.pagerduty.call(ctx, http.MethodPut, "/incidents/"+id, body, nil)
}

// Publish opens an incident on the status page.
func (a *Activities) Publish(ctx context.Context, incident Incident) (string, error) {
	var made struct {
		ID string `json:"id"`
	}
	body := object{"incident": object{
		"name":            "We are investigating an issue with our services",
		"status":          "investigating",
		"body":            "We are investigating an issue with our services.",
		"metadata":        object{"incident": object{"id": incident.ID}},
		"impact_override": "major",
	}}
	err := a.statuspage.call(ctx, http.MethodPost, "/pages/"+a.page+"/incidents", body, &made)
	return made.ID, err
}

// ResolveStatus resolves it there.
func (a *Activities) ResolveStatus(ctx context.Context, id string) error {
	body := object{"incident": object{"status": "resolved", "body": "This incident is resolved."}}
	return a.statuspage.call(ctx, http.MethodPatch, "/pages/"+a.page+"/incidents/"+id, body, nil)
}

// PublishReview makes a page in Confluence.
func (a *Activities) PublishReview(ctx context.Context, in PostMortemInput) (string, error) {
	var spaces struct {
		Results []struct {
			ID string `json:"id"`
		} `json:"results"`
	}
	if err := a.confluence.call(ctx, http.MethodGet, "/spaces?keys="+escaped(a.space), nil, &spaces); err != nil {
		return "", err
	}
	if len(spaces.Results) == 0 {
		return "", fmt.Errorf("Confluence has no space %s", a.space)
	}
	var made struct {
		ID    string `json:"id"`
		Links struct {
			Base  string `json:"base"`
			WebUI string `json:"webui"`
		} `json:"_links"`
	}
	body := object{
		"spaceId": spaces.Results[0].ID,
		"status":  "current",
		"title":   "Review of " + in.ID,
		"body":    object{"representation": "storage", "value": in.Review},
	}
	err := a.confluence.call(ctx, http.MethodPost, "/pages", body, &made)
	return made.Links.Base + made.Links.WebUI, err
}

// LoadRunbook reads the cells with these names, in this order.
func (a *Activities) LoadRunbook(_ context.Context, path string, wanted []string) ([]Cell, error) {
	return loadRunbook(a.runbooks, path, wanted)
}

// CellResult is how a cell ended.
type CellResult struct {
	Name     string `json:"name"`
	ExitCode int    `json:"exitCode"`
	Stdout   string `json:"stdout"`
	Stderr   string `json:"stderr"`
}

// How much of each stream goes into the result.
const tail = 8 << 10

// RunCell runs a cell with the shell. Its exit code is a result, not an error.
func (a *Activities) RunCell(ctx context.Context, cell Cell) (CellResult, error) {
	command := exec.CommandContext(ctx, "/bin/sh", "-ec", cell.Source)
	var stdout, stderr strings.Builder
	command.Stdout, command.Stderr = &stdout, &stderr
	if err := command.Start(); err != nil {
		return CellResult{}, err
	}
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	beat := time.NewTicker(5 * time.Second)
	defer beat.Stop()
	for {
		select {
		case <-beat.C:
			activity.RecordHeartbeat(ctx)
		case err := <-ended:
			var exit *exec.ExitError
			if err != nil && !errors.As(err, &exit) {
				return CellResult{}, err
			}
			return CellResult{
				Name:     cell.Name,
				ExitCode: command.ProcessState.ExitCode(),
				Stdout:   last(stdout.String()),
				Stderr:   last(stderr.String()),
			}, ctx.Err()
		}
	}
}

func last(text string) string {
	return strings.ToValidUTF8(text[max(0, len(text)-tail):], "")
}
