package main

import (
	"path/filepath"
	"strings"

	"github.com/slipway-ci/slipway/jobs"
	"github.com/slipway-ci/slipway/pipeline"
)

// workflowsDir is where a repository's workflows are.
const workflowsDir = ".github/workflows"

// workflowsOf reads the workflows of a working copy that a plan depends on. Other repositories and refs are not looked at. whole
// says that the working copy is all there is of the commit, so that what is not in it is not there.
func workflowsOf(in jobs.PlanInput, dir string, whole bool) []jobs.WorkflowFile {
	var files []jobs.WorkflowFile
	for _, ref := range pipeline.Workflows(in) {
		if ref.Repository != "" || ref.Ref != "" {
			continue
		}
		if file, found := workflowIn(dir, ref.Workflow); found || whole && file.Problem != "" {
			files = append(files, file)
		}
	}
	return files
}

// workflowsBeside reads the workflows of the repository whose pipeline file is given; none for files called otherwise, which may
// lie anywhere.
func workflowsBeside(file string) func(name string) (jobs.WorkflowFile, bool) {
	return func(name string) (jobs.WorkflowFile, bool) {
		if filepath.Base(file) != jobs.PipelinePath {
			return jobs.WorkflowFile{}, false
		}
		f, found := workflowIn(filepath.Dir(file), name)
		return f, found || f.Problem != ""
	}
}

// workflowIn reads a workflow of a working copy. An ID says nothing there.
func workflowIn(dir, name string) (file jobs.WorkflowFile, found bool) {
	if !strings.Contains(name, ".") {
		return file, false
	}
	file = jobs.WorkflowFile{WorkflowRef: jobs.WorkflowRef{Workflow: name}, Path: workflowsDir + "/" + name}
	var err error
	if file.Content, err = readPipeline(filepath.Join(dir, filepath.FromSlash(workflowsDir), name)); err != nil {
		file.Problem = "there is no " + file.Path
		return file, false
	}
	return file, true
}
