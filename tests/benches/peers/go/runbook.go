package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// Cell is one fenced block of a runbook.
type Cell struct {
	Name           string `json:"name"`
	Source         string `json:"source"`
	Idempotent     bool   `json:"idempotent"`
	TimeoutSeconds int    `json:"timeoutSeconds"`
}

var fence = regexp.MustCompile("(?ms)^```(?:sh|bash|shell) *\\{([^}]*)\\}\n(.*?)^```")

func loadRunbook(root, path string, wanted []string) ([]Cell, error) {
	text, err := os.ReadFile(filepath.Join(root, filepath.Clean("/"+strings.TrimPrefix(path, "runbooks/"))))
	if err != nil {
		return nil, err
	}
	known := map[string]Cell{}
	for _, block := range fence.FindAllStringSubmatch(string(text), -1) {
		cell := Cell{Source: block[2], TimeoutSeconds: 60}
		for _, attribute := range strings.Fields(block[1]) {
			name, value, _ := strings.Cut(attribute, "=")
			switch name {
			case "name":
				cell.Name = value
			case "idempotent":
				cell.Idempotent = value == "true"
			case "timeout":
				limit, err := time.ParseDuration(value)
				if err != nil {
					return nil, err
				}
				cell.TimeoutSeconds = int(limit.Seconds())
			}
		}
		known[cell.Name] = cell
	}
	cells := make([]Cell, 0, len(wanted))
	for _, name := range wanted {
		cell, ok := known[name]
		if !ok {
			return nil, fmt.Errorf("%s has no cell %s", path, name)
		}
		cells = append(cells, cell)
	}
	return cells, nil
}
