package cli

import (
	"fmt"
	"strings"

	"snap-to-s3/internal/cost"
	"snap-to-s3/internal/words"
)

// costLines is an estimate for a person: what it costs once, what it costs a
// month beside what the snapshots cost now, and what it leaves out. A validation
// stores nothing, and knows how large archives are.
func costLines(e cost.Estimate) []string {
	requests := words.Count(e.RequestCount, "request") + " to S3"
	stores := e.Parts > 0
	if stores {
		requests += fmt.Sprintf(" (%s of archives among them)", words.Count(e.Parts, "part"))
	}
	retrieval := ""
	if e.Retrieval > 0 {
		retrieval = ", retrieval " + e.Retrieval.String()
	}
	lines := []string{
		fmt.Sprintf("at most %s, volumes for %.2f hours", requests, e.VolumeHours()),
		fmt.Sprintf("once: %s (volumes %s, requests %s, transfer %s%s)", e.OneTime(), e.Volume, e.Requests, e.Transfer, retrieval),
	}
	if stores {
		lines = append(lines, fmt.Sprintf("a month: at most %s, %s if it compresses to half; as EBS snapshots at most %s", e.Storage, e.StorageHalf, e.Snapshot))
	}
	if e.MinimumDays > 0 {
		lines = append(lines, fmt.Sprintf("this class bills %d days at least: at most %s", e.MinimumDays, e.Minimum))
	}
	if unknown := e.Unknown(); len(unknown) > 0 {
		lines = append(lines, "not in these sums, for want of a price: "+strings.Join(unknown, ", "))
	}
	dated := "list prices of " + cost.Dated
	if stores {
		dated += "; the archive's size is an upper bound"
	}
	return append(lines, dated)
}

// jsonCost is an estimate for a program; amounts are US dollars.
type jsonCost struct {
	OneTime      cost.Money `json:"one_time"`
	Volumes      cost.Money `json:"volumes"`
	Requests     cost.Money `json:"requests"`
	Transfer     cost.Money `json:"transfer"`
	Retrieval    cost.Money `json:"retrieval"`
	VolumeHours  float64    `json:"volume_hours"`
	RequestCount int64      `json:"request_count"`
	Parts        int64      `json:"parts"`
	Monthly      cost.Money `json:"monthly_at_most"`
	MonthlyHalf  cost.Money `json:"monthly_at_half_size"`
	EBSMonthly   cost.Money `json:"ebs_monthly_at_most"`
	MinimumDays  int        `json:"minimum_days"`
	UnknownPrice []string   `json:"unknown_prices,omitempty"`
	PricesDated  string     `json:"prices_dated"`
}

func costOf(e cost.Estimate) jsonCost {
	return jsonCost{
		e.OneTime(), e.Volume, e.Requests, e.Transfer, e.Retrieval, e.VolumeHours(), e.RequestCount, e.Parts, e.Storage, e.StorageHalf, e.Snapshot,
		e.MinimumDays, e.Unknown(), cost.Dated,
	}
}
