package main

import (
	"fmt"
	"runtime"

	"github.com/urfave/cli/v2"

	"github.com/metanode/metanode/consensus"
)

func versionCommand() *cli.Command {
	return &cli.Command{
		Name: "version", Usage: "the program's version and the protocol it follows",
		Action: action(func(c *cli.Context, e *env) error {
			if err := noArguments(c); err != nil {
				return err
			}
			if e.json {
				return writeJSON(e.out, map[string]any{"version": version, "protocol": consensus.ProtocolVersion, "go": runtime.Version()})
			}
			fmt.Fprintf(e.out, "bpi %s, protocol %d, %s\n", version, consensus.ProtocolVersion, runtime.Version())
			return nil
		}),
	}
}

func completionCommand() *cli.Command {
	return &cli.Command{
		Name: "completion", Usage: "write a completion script: bash, zsh or fish", ArgsUsage: "SHELL",
		Description: "For bash: source <(bpi completion bash)",
		Action: action(func(c *cli.Context, e *env) error {
			shell, err := argument(c, "shell")
			if err != nil {
				return err
			}
			switch shell {
			case "bash":
				fmt.Fprint(e.out, bashCompletion)
			case "zsh":
				fmt.Fprint(e.out, zshCompletion)
			case "fish":
				script, err := c.App.ToFishCompletion()
				if err != nil {
					return err
				}
				fmt.Fprint(e.out, script)
			default:
				return usageError(fmt.Errorf("shell %q: want bash, zsh or fish", shell))
			}
			return nil
		}),
	}
}

const bashCompletion = `_bpi() {
  local cur words
  cur="${COMP_WORDS[COMP_CWORD]}"
  words=("${COMP_WORDS[@]:0:COMP_CWORD}")
  if [[ "$cur" == -* ]]; then words+=("$cur"); fi
  COMPREPLY=($(compgen -W "$("${words[@]}" --generate-bash-completion 2>/dev/null)" -- "$cur"))
}
complete -o bashdefault -o default -F _bpi bpi
`

const zshCompletion = `#compdef bpi
_bpi() {
  local -a opts
  local cur=${words[CURRENT]}
  if [[ "$cur" == -* ]]; then
    opts=("${(@f)$(${words[@]:0:#words[@]-1} ${cur} --generate-bash-completion 2>/dev/null)}")
  else
    opts=("${(@f)$(${words[@]:0:#words[@]-1} --generate-bash-completion 2>/dev/null)}")
  fi
  if [[ "${opts[1]}" != "" ]]; then _describe 'values' opts; else _files; fi
}
compdef _bpi bpi
`
