package cage

import (
	"sort"
	"strconv"
	"strings"
)

// Environ is the whole environment of the program, sorted: Env and what the cage sets. A sealed program is told its seed
// and epoch, since it makes its own clock and randomness from them. Any other program sees neither, only an ordinary
// environment, of which Env may replace all but what fixes the CPU class.
func (s *Spec) Environ() []string {
	var env []string
	if s.Mode == ModeSealed {
		env = append(FixedEnviron(s.CPUClass),
			"DOCKLOCK_EPOCH_NS="+strconv.FormatUint(s.EpochNs, 10),
			"DOCKLOCK_SEED="+s.Seed.String())
	} else {
		own := make(map[string]bool, len(s.Env))
		for _, v := range s.Env {
			name, _, _ := strings.Cut(v, "=")
			own[name] = true
		}
		for _, v := range append(FixedEnviron(s.CPUClass), ordinaryEnv...) {
			if name, _, _ := strings.Cut(v, "="); !own[name] && name != "LANG" {
				env = append(env, v)
			}
		}
	}
	env = append(env, s.Env...)
	sort.Strings(env)
	return env
}

// Texts are UTF-8, by LC_CTYPE alone: LANG would have each program of glibc open a dozen files of locales as it starts.
var ordinaryEnv = []string{
	"HOME=/root",
	"LC_CTYPE=C.UTF-8",
	"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
	"USER=root",
}

// FixedEnviron is the part of the environment that depends on the CPU class alone, sorted. It must be there when a
// program is executed: glibc chooses its variants of memcpy, exp, sin and so on before main. Some of them (those with
// fused multiply-add) round differently, so a class fixes which are chosen, whatever the CPU offers beyond it.
func FixedEnviron(cpuClass string) []string {
	env := []string{"LANG=C.UTF-8", "TZ=UTC"}
	if cpuClass == CPUx86_64v2 {
		env = append(env, "GLIBC_TUNABLES="+tunablesV2)
	}
	sort.Strings(env)
	return env
}

// tunablesV2 hides from glibc every feature that it would use beyond x86-64-v2, and the sizes of this CPU's caches.
const tunablesV2 = "glibc.cpu.hwcaps=-AVX,-AVX2,-AVX512F,-AVX512VL,-AVX512BW,-AVX512CD,-AVX512DQ,-AVX512ER,-AVX512PF," +
	"-AVX_Fast_Unaligned_Load,-AVX2_Usable,-BMI1,-BMI2,-ERMS,-FMA,-FMA4,-FSRM,-LZCNT,-MOVBE,-RTM,-XSAVE,-XSAVEC," +
	"-Prefer_No_VZEROUPPER:glibc.cpu.x86_data_cache_size=32768:glibc.cpu.x86_shared_cache_size=1048576:" +
	"glibc.cpu.x86_non_temporal_threshold=786432"

// reservedEnv reports whether a spec of the mode may not set the variable: it would change how the program is loaded or
// which CPU it sees.
func reservedEnv(mode, name string) bool {
	switch name {
	case "GLIBC_TUNABLES":
		return true
	case "LANG", "TZ":
		return mode == ModeSealed
	}
	return strings.HasPrefix(name, "DOCKLOCK_") || strings.HasPrefix(name, "LD_")
}
