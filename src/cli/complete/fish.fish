# Completions of pathspider for fish 3.2 or later. The program answers itself at each Tab.
function __pathspider_complete
    set -l words (commandline -opc)
    set -l word (commandline -ct)
    set -l program (string replace -r '^~/' "$HOME/" -- $words[1])
    set -l answer ($program __complete (count $words) -- $words "$word" </dev/null 2>/dev/null)
    or return
    set -l files $answer[1]
    set -e answer[1]
    test (count $answer) -gt 0; and printf '%s\n' $answer
    set -l option (string match -r -- '^--[^=]+=' $word)
    set -l value (string replace -r -- '^--[^=]+=' '' $word)
    set -l paths
    switch "$files"
        case none ''
        case any
            set paths (__fish_complete_path "$value")
        case folders
            set paths (__fish_complete_directories "$value")
        case '*'
            set paths (__fish_complete_path "$value" | string match -r -- ".*/(?=\t|\$)|.*\.$files(?=\t|\$)")
    end
    for path in $paths
        printf '%s%s\n' "$option" "$path"
    end
end
complete -c pathspider -f -k -a '(__pathspider_complete)'
