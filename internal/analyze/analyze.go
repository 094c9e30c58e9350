// Package analyze is the use case of that name: it puts together what bills and
// EC2 tell of snapshots for cost to reckon with, and tags those of a plan. It
// knows no SDK, no flags, and prints nothing.
package analyze

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"

	"golang.org/x/sync/errgroup"

	"snap-to-s3/internal/cost"
	"snap-to-s3/internal/cost/bill"
	"snap-to-s3/internal/hint"
)

// Analyzer says what snapshots cost and what moving them would save, by bills, by
// EC2, or by both. It changes nothing, but for Analysis.Tag.
type Analyzer struct {
	Askers  []Asker // none: EC2 is not asked
	Tag     string  // whose values tell how far the move of a snapshot is
	Options cost.AnalysisOptions
	Log     *slog.Logger
	Step    func(string) // told what is looked at, by several goroutines; nil: nobody is
}

// Analysis is a report, and what it takes to act on it.
type Analysis struct {
	cost.Report
	// Unasked are the regions that EC2 could not be asked in, each with its credentials.
	Unasked []error
	// Refused are those of Unasked whose credentials were named, and work nowhere.
	Refused []error

	estates map[place]Estate
}

// Bill analyses what bills tell, together with what EC2 does. Where EC2 cannot be
// asked, notes and Unasked say so.
func (a *Analyzer) Bill(ctx context.Context, u bill.Usage) (*Analysis, error) {
	holdings := billed(u)
	s, err := a.survey(ctx, holdings)
	if err != nil {
		return nil, err
	}
	if len(a.Askers) > 0 {
		holdings = s.join(holdings, u)
	}
	o := a.Options
	o.Currency, o.Offline = cost.Currency(u.Currency), len(a.Askers) == 0
	o.Period = cost.Period{From: u.From, To: u.To, Newest: u.Newest}
	return a.report(holdings, o, s, u.Notes)
}

// survey asks EC2 in all regions of the holdings.
func (a *Analyzer) survey(ctx context.Context, h []cost.Holding) (*survey, error) {
	regions, accounts := map[string]bool{}, map[string]bool{}
	for _, x := range h {
		regions[x.Region], accounts[x.Account] = true, true
	}
	return a.askAll(ctx, slices.Sorted(maps.Keys(regions)), slices.Sorted(maps.Keys(accounts)))
}

func (a *Analyzer) askAll(ctx context.Context, regions, accounts []string) (*survey, error) {
	s := newSurvey(a.Log, a.Tag, accounts)
	// Regions do not wait for each other: one that does not answer takes a minute.
	parts := make([]*survey, len(regions))
	running, ctx := errgroup.WithContext(ctx)
	running.SetLimit(regionsAtOnce)
	for i, region := range regions {
		parts[i] = newSurvey(a.Log, a.Tag, accounts)
		running.Go(func() error {
			if a.Step != nil {
				a.Step("asking EC2 in " + region)
			}
			for _, by := range a.Askers {
				if err := parts[i].ask(ctx, by, region); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := running.Wait(); err != nil {
		return nil, err
	}
	for _, part := range parts {
		s.add(part)
	}
	s.tellClosed(len(regions))
	s.tellRefused(a.Askers)
	return s, nil
}

// regionsAtOnce is in how many regions EC2 is asked at one time.
const regionsAtOnce = 8

// Live analyses what EC2 tells of these regions, without a bill. It is an error if
// it could be asked in none of them, and if AWS bills them in different currencies.
func (a *Analyzer) Live(ctx context.Context, regions []string) (*Analysis, error) {
	currency, err := billedIn(regions)
	if err != nil {
		return nil, err
	}
	s, err := a.askAll(ctx, regions, nil)
	if err != nil {
		return nil, err
	}
	if len(s.answers) == 0 && len(s.unasked) > 0 {
		return nil, errors.Join(s.unasked...)
	}
	holdings := slices.SortedFunc(maps.Values(s.found), byID)
	o := a.Options
	o.Currency = currency
	if o.Spans, err = s.exact(ctx); err != nil {
		return nil, err
	}
	return a.report(holdings, o, s, s.barren())
}

// billedIn is the one currency that AWS bills all of these regions in.
func billedIn(regions []string) (cost.Currency, error) {
	var first string
	for i, region := range regions {
		if i == 0 {
			first = region
		}
		if one, other := cost.RegionCurrency(first), cost.RegionCurrency(region); one != other {
			return "", hint.Wrap(fmt.Errorf("%s is billed in %s, and %s in %s: their costs cannot be added up", first, one, region, other),
				"analyse the regions of each currency alone")
		}
	}
	return cost.RegionCurrency(first), nil
}

func (a *Analyzer) report(h []cost.Holding, o cost.AnalysisOptions, s *survey, notes []string) (*Analysis, error) {
	r, err := cost.Analyze(h, o)
	if err != nil {
		return nil, fmt.Errorf("analyze snapshots: %w", err)
	}
	r.Notes = slices.Concat(notes, r.Notes, s.notes)
	for _, err := range s.unasked {
		r.Notes = append(r.Notes, err.Error())
	}
	return &Analysis{Report: r, Unasked: s.unasked, Refused: s.refused, estates: s.asked}, nil
}
