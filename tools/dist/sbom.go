package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"
)

// What CycloneDX 1.6 calls a component and what stands in one.
type component struct {
	Type       string     `json:"type"`
	Ref        string     `json:"bom-ref"`
	Name       string     `json:"name"`
	Version    string     `json:"version,omitempty"`
	Hashes     []hash     `json:"hashes,omitempty"`
	Licences   []licence  `json:"licenses,omitempty"`
	PURL       string     `json:"purl,omitempty"`
	Properties []property `json:"properties,omitempty"`
}

type hash struct {
	Alg     string `json:"alg"`
	Content string `json:"content"`
}

type licence struct {
	Licence struct {
		ID string `json:"id"`
	} `json:"license"`
}

type property struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

func sha256Hex(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func spdx(ids []string) []licence {
	out := make([]licence, len(ids))
	for i, id := range ids {
		out[i].Licence.ID = id
	}
	return out
}

// sbom lists what a release is made of, as CycloneDX 1.6: the modules are those that the
// program says it was linked of.
func (r release) sbom(p *program, parts []part) ([]byte, error) {
	main := component{
		Type: "application", Ref: "lazyolo", Name: "lazyolo", Version: r.version, Hashes: []hash{{"SHA-256", sha256Hex(p.binary)}}, Licences: spdx([]string{"Apache-2.0"}),
		Properties: []property{{"lazyolo:commit", r.commit}, {"lazyolo:platform", "linux/" + p.arch}, {"lazyolo:glibc", ">= " + p.glibc}},
	}
	var components []component
	var refs []string
	for _, one := range parts {
		c := component{Type: one.kind, Ref: one.name, Name: one.name, Version: one.version, Licences: spdx(one.licences), PURL: one.purl}
		if one.purl != "" {
			c.Ref = one.purl
		}
		if one.sum != "" {
			c.Hashes = []hash{{"SHA-256", one.sum}}
		}
		if one.goSum != "" {
			c.Properties = []property{{"lazyolo:go.sum", one.goSum}}
		}
		components, refs = append(components, c), append(refs, c.Ref)
	}
	// The serial number has to be one of its own for each list, and the same each time.
	id := sha256.Sum256(append([]byte(r.version), p.binary...))
	id[6], id[8] = id[6]&0x0f|0x80, id[8]&0x3f|0x80 // version 8: made as one likes
	type dependency struct {
		Ref string   `json:"ref"`
		On  []string `json:"dependsOn"`
	}
	out, err := json.MarshalIndent(map[string]any{
		"$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json", "bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1,
		"serialNumber": fmt.Sprintf("urn:uuid:%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:16]),
		"metadata":     map[string]any{"timestamp": r.when.Format(time.RFC3339), "component": main},
		"components":   components,
		"dependencies": []dependency{{"lazyolo", refs}},
	}, "", "  ")
	return append(out, '\n'), err
}
