package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"lazyolo/internal/config"
	"lazyolo/yolo"
)

// A servedModel is what a server says of a model in /api/v2/models.
type servedModel struct {
	Name    string `json:"model_name"`
	Version string `json:"version"`
	Task    string `json:"task"`
	Folder  string `json:"folder"`
	About   string `json:"description"`
}

// A servedState is what it says of it in /api/v2/memory_status.
type servedState struct {
	State    string     `json:"state"`
	Warm     bool       `json:"warm"`
	Pinned   bool       `json:"pinned"`
	Mapped   float64    `json:"mapped_mb"`
	Private  float64    `json:"private_mb"`
	Hits     int64      `json:"hits"`
	Loads    int64      `json:"loads"`
	LoadMS   float64    `json:"load_ms"`
	LastUsed *time.Time `json:"last_used"`
	Expires  *time.Time `json:"expires"`
}

// serverRows asks a running server for all models, or for everything of one. The old one
// has no states.
func serverRows(ctx context.Context, f listFlags, only string) ([]row, error) {
	var models map[string]servedModel
	if err := askServer(ctx, f, http.MethodGet, "/api/v2/models", &models); err != nil {
		return nil, err
	}
	var memory struct{ Models map[string]servedState }
	if err := askServer(ctx, f, http.MethodGet, "/api/v2/memory_status", &memory); err != nil {
		memory.Models = nil
	}
	now := time.Now()
	var all []*yolo.Model
	for id, m := range models {
		n, err := strconv.Atoi(id)
		if err != nil {
			return nil, fmt.Errorf("ask the server: %q is no number of a model", id)
		}
		all = append(all, &yolo.Model{Index: n, ID: m.Folder, Name: m.Name})
	}
	if only != "" {
		m, err := pickModel(all, only)
		if err != nil {
			return nil, err
		}
		id := strconv.Itoa(m.Index)
		r := serverRow(m.Index, models[id], memory.Models[id], now)
		return []row{append(r, serverDetails(ctx, f, id, models[id])...)}, nil
	}
	slices.SortFunc(all, func(a, b *yolo.Model) int { return cmp.Compare(a.Index, b.Index) })
	var rows []row
	for _, m := range all {
		id := strconv.Itoa(m.Index)
		rows = append(rows, serverRow(m.Index, models[id], memory.Models[id], now))
	}
	return rows, nil
}

// A moment is a time: for people from now, in JSON as in RFC 3339.
type moment struct {
	time.Time
	now time.Time
}

// String says it for people.
func (m moment) String() string {
	if m.After(m.now) {
		return "in " + m.Sub(m.now).Round(time.Second).String()
	}
	return m.now.Sub(m.Time).Round(time.Second).String() + " ago"
}

func serverRow(n int, m servedModel, s servedState, now time.Time) row {
	state := s.State
	switch {
	case state == "":
		state = "unloaded"
	case state == "ready" && !s.Warm:
		state = "cool"
	}
	r := row{
		{"id", n, true}, {"folder", m.Folder, false}, {"name", m.Name, false}, {"version", m.Version, false}, {"task", m.Task, false},
		{"state", state, false}, {"mb", s.Mapped + s.Private, true}, {"hits", s.Hits, true}, {"loads", s.Loads, true}, {"load_ms", s.LoadMS, true},
	}
	used, expires := any(nil), any(nil)
	if s.LastUsed != nil {
		used = moment{*s.LastUsed, now}
	}
	if s.Expires != nil {
		expires = moment{*s.Expires, now}
	}
	return append(r, cell{"used", used, false}, cell{"expires", expires, false}, cell{"pinned", s.Pinned, false})
}

// askServer reads one JSON answer of the server.
func askServer(ctx context.Context, f listFlags, method, path string, to any) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	base, err := url.Parse(f.url)
	if err != nil || base.Host == "" {
		return &config.UsageError{Setting: "--url", Msg: fmt.Sprintf("--url=%q is no URL", f.url), Hint: "--url http://127.0.0.1:8000"}
	}
	u := strings.TrimRight(f.url, "/") + path
	req, err := http.NewRequestWithContext(ctx, method, u, nil)
	if err != nil {
		return &config.UsageError{Setting: "--url", Msg: err.Error()}
	}
	if f.key != "" {
		req.Header.Set("Authorization", "Bearer "+f.key)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return hinted{fmt.Errorf("ask the server: %w", err), "is it running there? --url names it"}
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusUnauthorized, http.StatusForbidden:
		return hinted{fmt.Errorf("ask the server: %s", resp.Status), "give a key with --key or LAZYOLO_KEY"}
	default:
		return fmt.Errorf("ask the server: %s answers %s", u, resp.Status)
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 64<<20)).Decode(to); err != nil {
		return fmt.Errorf("ask the server: %s: %w", u, err)
	}
	return nil
}
