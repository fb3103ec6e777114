package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
)

// Incident is what every workflow is told. References is what `Initiate` made.
type Incident struct {
	ID       string   `json:"id"`
	Title    string   `json:"title"`
	Severity string   `json:"severity"`
	By       string   `json:"by"`
	Invite   []string `json:"invite"`
	References
}

// References are the vendors' names for the incident.
type References struct {
	Channel      string `json:"channel"`
	PagerDutyID  string `json:"pagerDutyId"`
	StatuspageID string `json:"statuspageId"`
}

// InitiateResult tells what was made; a vendor that was not reached is a warning.
type InitiateResult struct {
	References
	Warnings []string `json:"warnings"`
}

// RemediateInput names a runbook and its cells, and who may approve it, level by level.
type RemediateInput struct {
	Incident
	Runbook      string   `json:"runbook"`
	Cells        []string `json:"cells"`
	Verification []string `json:"verification"`
	Levels       []Level  `json:"levels"`
}

// Level is who may approve for how long; then the next one is paged.
type Level struct {
	Approvers     []string `json:"approvers"`
	WithinSeconds int      `json:"withinSeconds"`
}

// Decision comes as a signal or an update.
type Decision struct {
	Decision   string `json:"decision"`
	ApproverID string `json:"approverId"`
	Reason     string `json:"reason"`
}

// Approval is what the query answers.
type Approval struct {
	Status string `json:"status"`
	Level  int    `json:"level"`
	By     string `json:"by"`
	Reason string `json:"reason"`
}

// RemediateResult tells how it ended.
type RemediateResult struct {
	Status   string       `json:"status"`
	Approval Approval     `json:"approval"`
	Cells    []CellResult `json:"cells"`
	Warnings []string     `json:"warnings"`
}

// CloseOutInput says how it was resolved.
type CloseOutInput struct {
	Incident
	Summary string `json:"summary"`
}

// Closed is the result of the close-out.
type Closed struct {
	Status   string   `json:"status"`
	Warnings []string `json:"warnings"`
}

// PostMortemInput is a review that is written already.
type PostMortemInput struct {
	Incident
	Review string  `json:"review"`
	Levels []Level `json:"levels"`
}

// PostMortemResult says where the page is.
type PostMortemResult struct {
	Status   string   `json:"status"`
	URL      string   `json:"url"`
	Warnings []string `json:"warnings"`
}

const (
	pending   = "pending"
	completed = "COMPLETED"
	rejected  = "REJECTED"
	failed    = "FAILED"
)

// a names the activities; it is never called.
var a *Activities

func withSteps(ctx workflow.Context) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		StartToCloseTimeout:    30 * time.Second,
		ScheduleToCloseTimeout: 15 * time.Minute,
		RetryPolicy:            &temporal.RetryPolicy{InitialInterval: time.Second, MaximumInterval: 30 * time.Second},
	})
}

// warnings collects what did not work and was not needed.
type warnings []string

func (w *warnings) of(step string, err error) {
	if err != nil {
		*w = append(*w, fmt.Sprintf("%s: %v", step, err))
	}
}

// Initiate tells everybody: the channel and whoever is on call first, then the first update and the public page.
func Initiate(ctx workflow.Context, incident Incident) (InitiateResult, error) {
	ctx = withSteps(ctx)
	var warned warnings
	var made References
	opening := workflow.ExecuteActivity(ctx, a.OpenChannel, incident)
	paging := workflow.ExecuteActivity(ctx, a.PageOnCall, incident, "")
	warned.of("channel", opening.Get(ctx, &made.Channel))
	warned.of("page", paging.Get(ctx, &made.PagerDutyID))

	text := fmt.Sprintf("*%s*\n%s %s declared by %s", incident.Title, incident.Severity, incident.ID, incident.By)
	posting := workflow.ExecuteActivity(ctx, a.PostPinned, made.Channel, text)
	publishing := workflow.ExecuteActivity(ctx, a.Publish, incident)
	warned.of("first update", posting.Get(ctx, nil))
	warned.of("status page", publishing.Get(ctx, &made.StatuspageID))
	return InitiateResult{References: made, Warnings: warned}, nil
}

// Remediate asks for approval of a runbook, then runs it cell by cell; the first failure stops.
func Remediate(ctx workflow.Context, in RemediateInput) (RemediateResult, error) {
	ctx = withSteps(ctx)
	gate, err := newGate(ctx, in.Incident, in.Levels)
	if err != nil {
		return RemediateResult{}, err
	}
	// Reading a file of this machine takes no task of its own.
	local := workflow.WithLocalActivityOptions(ctx, workflow.LocalActivityOptions{StartToCloseTimeout: 5 * time.Second})
	var cells []Cell
	wanted := slices.Concat(in.Cells, in.Verification)
	if err := workflow.ExecuteLocalActivity(local, a.LoadRunbook, in.Runbook, wanted).Get(ctx, &cells); err != nil {
		return RemediateResult{}, err
	}

	var warned warnings
	proposed := fmt.Sprintf("Remediation proposed by %s: %s", in.By, in.Runbook)
	announcing := workflow.ExecuteActivity(ctx, a.Post, in.Channel, proposed)
	question := fmt.Sprintf("Run %s, cells %s", in.Runbook, strings.Join(wanted, " → "))
	answered, err := gate.ask(ctx, question, &warned)
	if err != nil {
		return RemediateResult{}, err
	}
	result := RemediateResult{Status: rejected, Approval: gate.state}
	if gate.approved() {
		result.run(ctx, cells)
	}
	warned.of("announcement", announcing.Get(ctx, nil))
	warned.of("answer", answered.Get(ctx, nil))
	outcome := fmt.Sprintf("%s: %s, %d cells", in.Runbook, result.Status, len(result.Cells))
	warned.of("outcome", workflow.ExecuteActivity(ctx, a.Post, in.Channel, outcome).Get(ctx, nil))
	result.Warnings = warned
	return result, nil
}

func (r *RemediateResult) run(ctx workflow.Context, cells []Cell) {
	r.Status = completed
	for _, cell := range cells {
		options := workflow.ActivityOptions{
			StartToCloseTimeout: time.Duration(cell.TimeoutSeconds) * time.Second,
			HeartbeatTimeout:    10 * time.Second,
			RetryPolicy:         &temporal.RetryPolicy{MaximumAttempts: 1},
		}
		if cell.Idempotent {
			options.RetryPolicy.MaximumAttempts = 3
		}
		var done CellResult
		err := workflow.ExecuteActivity(workflow.WithActivityOptions(ctx, options), a.RunCell, cell).Get(ctx, &done)
		if err != nil {
			done = CellResult{Name: cell.Name, ExitCode: -1, Stderr: err.Error()}
		}
		r.Cells = append(r.Cells, done)
		if done.ExitCode != 0 {
			r.Status = failed
			return
		}
	}
}

// gate waits for somebody who may decide.
type gate struct {
	incident Incident
	levels   []Level
	state    Approval
}

// newGate listens from the first moment of a run on.
func newGate(ctx workflow.Context, incident Incident, levels []Level) (*gate, error) {
	g := &gate{incident: incident, levels: levels, state: Approval{Status: pending, Level: 1}}
	return g, g.listen(ctx)
}

func (g *gate) approved() bool { return g.state.Status == "approved" }

// ask posts the question and waits for the decision. The message is answered beside what follows: nobody waits for
// Slack before the first cell.
func (g *gate) ask(ctx workflow.Context, question string, warned *warnings) (workflow.Future, error) {
	asking := workflow.ExecuteActivity(ctx, a.Post, g.incident.Channel, "*"+question+"*")
	if err := g.decide(ctx, warned); err != nil {
		return nil, err
	}
	answered, settle := workflow.NewFuture(ctx)
	answer := fmt.Sprintf("%s by %s: %s", g.state.Status, g.state.By, question)
	workflow.Go(ctx, func(ctx workflow.Context) {
		var asked string
		err := asking.Get(ctx, &asked)
		if err == nil {
			err = workflow.ExecuteActivity(ctx, a.Update, g.incident.Channel, asked, answer).Get(ctx, nil)
		}
		settle.SetError(err)
	})
	return answered, nil
}

func (g *gate) check(decision Decision) error {
	if decision.Decision != "approved" && decision.Decision != "rejected" {
		return fmt.Errorf("%q is neither approved nor rejected", decision.Decision)
	}
	if g.state.Status != pending {
		return fmt.Errorf("it is %s already", g.state.Status)
	}
	for _, level := range g.levels[:g.state.Level] {
		if slices.Contains(level.Approvers, decision.ApproverID) {
			return nil
		}
	}
	return fmt.Errorf("%s may not decide", decision.ApproverID)
}

func (g *gate) take(decision Decision) {
	g.state.Status, g.state.By, g.state.Reason = decision.Decision, decision.ApproverID, decision.Reason
}

func (g *gate) listen(ctx workflow.Context) error {
	if err := workflow.SetQueryHandler(ctx, "approvalState", func() (Approval, error) { return g.state, nil }); err != nil {
		return err
	}
	signals := workflow.GetSignalChannel(ctx, "approval")
	workflow.Go(ctx, func(ctx workflow.Context) {
		for {
			var decision Decision
			signals.Receive(ctx, &decision)
			if err := g.check(decision); err != nil {
				workflow.GetLogger(ctx).Warn("a decision does not count", "error", err)
				continue
			}
			g.take(decision)
		}
	})
	return workflow.SetUpdateHandlerWithOptions(ctx, "decide",
		func(_ workflow.Context, decision Decision) (Approval, error) {
			g.take(decision)
			return g.state, nil
		},
		workflow.UpdateHandlerOptions{Validator: g.check})
}

// decide waits level by level, and pages the next one when nobody decides.
func (g *gate) decide(ctx workflow.Context, warned *warnings) error {
	for number, level := range g.levels {
		g.state.Level = number + 1
		if number > 0 {
			title := fmt.Sprintf("%s waits for an approval", g.incident.ID)
			warned.of("escalation", workflow.ExecuteActivity(ctx, a.PageOnCall, g.incident, title).Get(ctx, nil))
		}
		within := time.Duration(level.WithinSeconds) * time.Second
		decided, err := workflow.AwaitWithTimeout(ctx, within, func() bool { return g.state.Status != pending })
		if err != nil {
			return err
		}
		if decided {
			return nil
		}
	}
	g.state.Status, g.state.Reason = "timeout", "nobody decided"
	return nil
}

// CloseOut tells everybody that it is over.
func CloseOut(ctx workflow.Context, in CloseOutInput) (Closed, error) {
	ctx = withSteps(ctx)
	var warned warnings
	resolving := workflow.ExecuteActivity(ctx, a.ResolvePage, in.PagerDutyID)
	publishing := workflow.ExecuteActivity(ctx, a.ResolveStatus, in.StatuspageID)
	posting := workflow.ExecuteActivity(ctx, a.Post, in.Channel, fmt.Sprintf("*Resolved: %s*\n%s", in.Title, in.Summary))
	warned.of("page", resolving.Get(ctx, nil))
	warned.of("status page", publishing.Get(ctx, nil))
	warned.of("post", posting.Get(ctx, nil))
	return Closed{Status: completed, Warnings: warned}, nil
}

// PostMortem publishes the review once somebody has approved it.
func PostMortem(ctx workflow.Context, in PostMortemInput) (PostMortemResult, error) {
	ctx = withSteps(ctx)
	gate, err := newGate(ctx, in.Incident, in.Levels)
	if err != nil {
		return PostMortemResult{}, err
	}
	var warned warnings
	answered, err := gate.ask(ctx, "Publish the review of "+in.ID, &warned)
	if err != nil {
		return PostMortemResult{}, err
	}
	result := PostMortemResult{Status: rejected}
	if gate.approved() {
		if err := workflow.ExecuteActivity(ctx, a.PublishReview, in).Get(ctx, &result.URL); err != nil {
			return PostMortemResult{}, err
		}
		result.Status = completed
		text := fmt.Sprintf("The review of %s is published: %s", in.ID, result.URL)
		warned.of("link", workflow.ExecuteActivity(ctx, a.Post, in.Channel, text).Get(ctx, nil))
	}
	warned.of("answer", answered.Get(ctx, nil))
	result.Warnings = warned
	return result, nil
}
