package web

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/slipway-ci/slipway/jobs"
)

// Measures of the job graph in pixels. Two layers fit a phone's width.
const (
	nodeWidth, nodeHeight = 140, 44
	layerGap, nodeGap     = 28, 12
	nameRunes             = 14
)

// graph is the drawing of a run's jobs: layers from left to right, each job to the right of what it needs.
type graph struct {
	Width, Height int
	Layers        int
	Nodes         []graphNode
	Edges         []graphEdge
	Label         string // for those who don't see it
}

type graphNode struct {
	Job  Job
	X, Y int
	Name string // cut to fit
}

type graphEdge struct {
	Path string // SVG path data
	Done bool   // what is needed is there
}

// layout draws jobs in layers: each job in the first layer after all that it needs, and within a layer in the order of what it needs.
func layout(list []Job) graph {
	at := make(map[string]int, len(list))
	for i, j := range list {
		at[j.Name] = i
	}
	depth := depths(list, at)
	rows, layers, tallest := place(list, at, depth)
	g := graph{
		Width:  layers*(nodeWidth+layerGap) - layerGap + 2,
		Height: tallest*(nodeHeight+nodeGap) - nodeGap + 2,
		Layers: layers,
		Label:  label(list),
	}
	for i, j := range list {
		g.Nodes = append(g.Nodes, graphNode{
			Job: j, Name: cutRunes(j.Name, nameRunes),
			X: 1 + depth[i]*(nodeWidth+layerGap),
			Y: 1 + int((rows[i]+float64(tallest-1)/2)*(nodeHeight+nodeGap)),
		})
	}
	needs := ancestry(list, at, depth)
	for i, j := range list {
		for _, need := range j.Needs {
			k, ok := at[need]
			if !ok || depth[k] >= depth[i] {
				continue
			}
			// An edge that others imply says nothing new, and would cross them.
			if slices.ContainsFunc(j.Needs, func(other string) bool { n, ok := at[other]; return ok && needs[n][k] }) {
				continue
			}
			g.Edges = append(g.Edges, edge(g.Nodes[k], g.Nodes[i]))
		}
	}
	return g
}

// place gives each job its row: the jobs of a layer are in the order of the mean row of what they need, and layers are centred on row 0.
// tallest is how many jobs the fullest layer has.
func place(list []Job, at map[string]int, depth []int) (rows []float64, layers, tallest int) {
	byLayer := make([][]int, slices.Max(append(depth, 0))+1)
	for i := range list {
		byLayer[depth[i]] = append(byLayer[depth[i]], i)
	}
	rows = make([]float64, len(list))
	mean := func(i int) float64 {
		sum, n := 0.0, 0.0
		for _, need := range list[i].Needs {
			if k, ok := at[need]; ok {
				sum, n = sum+rows[k], n+1
			}
		}
		return sum / max(n, 1)
	}
	for d, layer := range byLayer {
		if d > 0 {
			slices.SortStableFunc(layer, func(a, b int) int { return cmp.Compare(mean(a), mean(b)) })
		}
		for row, i := range layer {
			rows[i] = float64(row) - float64(len(layer)-1)/2
		}
		tallest = max(tallest, len(layer))
	}
	return rows, len(byLayer), tallest
}

// edge is a curve from a job to one that needs it.
func edge(from, to graphNode) graphEdge {
	x1, y1, x2, y2 := from.X+nodeWidth, from.Y+nodeHeight/2, to.X, to.Y+nodeHeight/2
	return graphEdge{
		Path: fmt.Sprintf("M%d %dC%d %d %d %d %d %d", x1, y1, x1+layerGap/2, y1, x2-layerGap/2, y2, x2, y2),
		Done: from.Job.State == jobs.JobSucceeded,
	}
}

// label says in words what is drawn, unless that would be long.
func label(list []Job) string {
	var said []string
	for _, j := range list {
		if len(j.Needs) > 0 {
			said = append(said, j.Name+" needs "+strings.Join(j.Needs, ", "))
		}
	}
	if len(said) == 0 || len(said) > 10 {
		return "Job graph"
	}
	return "Job graph: " + strings.Join(said, "; ")
}

// depths tells for each job its layer: how many others come before it on the longest way from a job that needs nothing. It also ends
// for jobs that need each other, which planning refuses.
func depths(list []Job, at map[string]int) []int {
	depth := make([]int, len(list))
	for round, moved := 0, true; moved && round < len(list); round++ {
		moved = false
		for i, j := range list {
			for _, need := range j.Needs {
				if k, ok := at[need]; ok && depth[i] <= depth[k] && k != i && depth[k]+1 < len(list) {
					depth[i], moved = depth[k]+1, true
				}
			}
		}
	}
	return depth
}

// ancestry tells for each job which jobs it needs, directly or by way of others.
func ancestry(list []Job, at map[string]int, depth []int) [][]bool {
	order := make([]int, len(list))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(depth[a], depth[b]) })
	needs := make([][]bool, len(list))
	for _, i := range order {
		needs[i] = make([]bool, len(list))
		for _, need := range list[i].Needs {
			if k, ok := at[need]; ok && depth[k] < depth[i] {
				needs[i][k] = true
				for n, yes := range needs[k] {
					needs[i][n] = needs[i][n] || yes
				}
			}
		}
	}
	return needs
}

func cutRunes(s string, n int) string {
	r := []rune(s)
	if len(r) <= n {
		return s
	}
	return string(r[:n-1]) + "…"
}
