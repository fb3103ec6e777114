package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"go.temporal.io/sdk/temporal"
)

// vendor is an HTTP API. Some want to know who calls, or have an answer's type of their own.
type vendor struct{ base, authorization, from, accept string }

var transport = &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}

// call sends JSON and reads JSON. What the vendor refuses is not tried again; Retry-After is kept.
func (v vendor) call(ctx context.Context, method, path string, body, answer any) error {
	var content io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return err
		}
		content = bytes.NewReader(encoded)
	}
	request, err := http.NewRequestWithContext(ctx, method, v.base+path, content)
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", v.authorization)
	request.Header.Set("Accept", cmp.Or(v.accept, "application/json"))
	if body != nil {
		request.Header.Set("Content-Type", "application/json; charset=utf-8")
	}
	if v.from != "" {
		request.Header.Set("From", v.from)
	}
	response, err := transport.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode >= 300 {
		problem := fmt.Sprintf("%s %s: %s: %s", method, path, response.Status, text)
		options := temporal.ApplicationErrorOptions{NonRetryable: response.StatusCode < 500 && response.StatusCode != http.StatusTooManyRequests}
		if seconds, err := strconv.Atoi(response.Header.Get("Retry-After")); err == nil {
			options.NextRetryDelay = time.Duration(seconds) * time.Second
		}
		return temporal.NewApplicationErrorWithOptions(problem, "Vendor", options)
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(text, answer)
}

// callSlack calls a method of Slack's Web API, which says in the body whether it did it.
func (a *Activities) callSlack(ctx context.Context, method string, body object, answer any) error {
	var text json.RawMessage
	if err := a.slack.call(ctx, http.MethodPost, "/"+method, body, &text); err != nil {
		return err
	}
	var outcome struct {
		OK    bool   `json:"ok"`
		Error string `json:"error"`
	}
	if err := json.Unmarshal(text, &outcome); err != nil {
		return err
	}
	if !outcome.OK {
		return temporal.NewNonRetryableApplicationError(method+": "+outcome.Error, "Slack", nil)
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(text, answer)
}

func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

func escaped(text string) string { return url.QueryEscape(text) }
