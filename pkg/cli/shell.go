package cli

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/posener/complete/v2"
	"github.com/spf13/cobra"
)

// bashCommand is what bash is told to ask for words, as it is told to ask upstream's
// tools: complete -C 'qm bashcomplete' qm.
const bashCommand = "bashcomplete"

// wantsCompletion tells whether a shell asks for words. It is the first thing that
// is looked at, and it wants more than COMP_LINE: a command that is run by the
// completion of another one is not asked itself.
func wantsCompletion(t Tool, w World) bool {
	if len(w.Args) == 0 {
		return false
	}
	switch w.Args[0] {
	case bashCommand, cobra.ShellCompRequestCmd, cobra.ShellCompNoDescRequestCmd:
		return true
	}
	return w.Env != nil && w.Env("COMP_LINE") != "" && filepath.Base(w.Args[0]) == t.Name && len(w.Args) == 3
}

// completeLine answers the shell.
func completeLine(ctx context.Context, t Tool, w World) int {
	r := newRunner(t, w)
	if strings.HasPrefix(w.Args[0], "__") {
		root := r.root(ctx)
		root.SetArgs(w.Args)
		root.SetOut(w.Out)
		root.SetErr(io.Discard)
		if root.ExecuteContext(ctx) != nil {
			return exitFailure
		}
		return exitOK
	}
	if w.Env == nil || w.Env("COMP_LINE") == "" {
		return exitOK
	}
	if _, err := strconv.Atoi(w.Env("COMP_POINT")); err != nil {
		return exitOK
	}
	words, prefix := r.typed()
	list, _ := r.complete(ctx, words, prefix)
	texts := behindEquals(prefix, list)
	if prefix == "" || len(texts) == 0 {
		// posener/complete would offer -h here, and as the only word there is it would
		// be put on the line.
		for _, text := range texts {
			fmt.Fprintln(w.Out, text)
		}
		return exitOK
	}
	complete.Complete(t.Name, bash{r, texts, nil}) // ends the process
	return exitOK
}

// typed returns the words of COMP_LINE before the cursor, without the tool, and the
// beginning of the one that is being typed.
func (r *runner) typed() (words []string, prefix string) {
	text := r.world.Env("COMP_LINE")
	if point, err := strconv.Atoi(r.world.Env("COMP_POINT")); err == nil && point >= 0 && point < len(text) {
		text = text[:point]
	}
	words = strings.Fields(text)
	if len(words) > 0 {
		words = words[1:]
	}
	if len(words) == 0 || strings.HasSuffix(text, " ") {
		return words, ""
	}
	return words[:len(words)-1], words[len(words)-1]
}

// behindEquals cuts off what bash takes for words of their own: all up to an equals
// sign.
func behindEquals(prefix string, list []Word) []string {
	cut := strings.LastIndex(prefix, "=") + 1
	texts := make([]string, 0, len(list))
	for _, word := range list {
		texts = append(texts, word.Text[min(cut, len(word.Text)):])
	}
	return texts
}

// root is the tool as cobra sees it: one command that completes itself. Cobra's
// parser does not know the dialect of the arguments, so it is not given any
// options, and commands are found by resolve.
func (r *runner) root(ctx context.Context) *cobra.Command {
	root := &cobra.Command{
		Use: r.tool.Name, Short: r.tool.Doc, DisableFlagParsing: true, SilenceUsage: true, SilenceErrors: true,
		Run: func(*cobra.Command, []string) {},
		ValidArgsFunction: func(_ *cobra.Command, words []string, prefix string) ([]string, cobra.ShellCompDirective) {
			list, open := r.complete(ctx, words, prefix)
			texts := make([]string, len(list))
			for i, word := range list {
				texts[i] = word.Text
				if doc, _, _ := strings.Cut(word.Doc, "\n"); doc != "" {
					texts[i] += "\t" + doc
				}
			}
			directive := cobra.ShellCompDirectiveNoFileComp
			if open {
				directive |= cobra.ShellCompDirectiveNoSpace
			}
			return texts, directive
		},
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetHelpCommand(&cobra.Command{Hidden: true})
	return root
}

// Script is what a shell reads to complete the tool's arguments: bash, zsh or fish.
func (t Tool) Script(w io.Writer, shell string) error {
	root := newRunner(t, World{}).root(context.Background())
	switch shell {
	case "bash":
		_, err := fmt.Fprintf(w, `# bash completion for %[1]s
# A colon is part of names here (local:iso/debian.iso).
COMP_WORDBREAKS=${COMP_WORDBREAKS//:}
complete -C '%[1]s %[2]s' %[1]s
`, t.Name, bashCommand)
		return err
	case "zsh":
		return root.GenZshCompletion(w)
	case "fish":
		return root.GenFishCompletion(w, true)
	}
	return fmt.Errorf("no completion for shell %q", shell)
}

// bash shows the tool to posener/complete, which reads the line, as a tree that
// grows only where the line goes. What fits there has been found before.
type bash struct {
	r     *runner
	texts []string // what fits at the cursor
	words []string // the commands so far
}

// SubCmdList lists the commands of a group.
func (b bash) SubCmdList() []string {
	_, binding, rest, err := b.r.resolve(b.words, "")
	if err != nil || binding.Sub == nil || len(rest) > 0 || b.r.tool.Single != nil {
		return nil
	}
	return byName(binding.Sub)
}

// SubCmdGet returns the command that name, or the beginning of it, stands for. Where
// it stands for none, nothing is found there.
func (b bash) SubCmdGet(name string) complete.Completer {
	return bash{b.r, b.texts, append(slices.Clone(b.words), name)}
}

// FlagList lists the options of a command.
func (b bash) FlagList() []string {
	if b.SubCmdList() != nil {
		return nil // the groups above are asked too
	}
	var names []string
	for _, text := range b.texts {
		if strings.HasPrefix(text, "-") {
			names = append(names, strings.TrimLeft(text, "-"))
		}
	}
	return names
}

// FlagGet returns what completes the value of an option.
func (b bash) FlagGet(string) complete.Predictor { return b.ArgsGet() }

// ArgsGet returns what completes the word at the cursor.
func (b bash) ArgsGet() complete.Predictor {
	return complete.PredictFunc(func(string) []string { return b.texts })
}
