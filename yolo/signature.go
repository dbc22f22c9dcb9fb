package yolo

import "time"

// A Signature is what goes into a model and what comes out, as its file declares it. It
// must not be changed.
type Signature struct {
	Inputs, Outputs []TensorInfo
	Metadata        map[string]string // what the weights file says of itself, under Ultralytics' keys
}

// Counts is how often a model was called since the start, and where the time went.
// Whoever was answered counts in each part, whoever was not in Fail alone.
type Counts struct {
	Success Sum // from the call to the answer
	Fail    Sum // from the call to the error
	Queue   Sum // waiting for the model and for memory
	Input   Sum // making its input
	Infer   Sum // the model itself, and waiting for cores
	Output  Sum // reading its outputs
	Last    time.Time
}

// A Sum is a number of durations and what they come to.
type Sum struct {
	N    int64
	Time time.Duration
}

// Add adds a duration.
func (s *Sum) Add(d time.Duration) { s.N, s.Time = s.N+1, s.Time+d }
