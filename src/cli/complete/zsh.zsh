#compdef pathspider
# Completions of pathspider for zsh. The program answers itself at each Tab.
_pathspider() {
    local -a answer closed open
    local files line word found=1
    answer=("${(@f)$("${${(Q)words[1]}/#\~\//$HOME/}" __complete $((CURRENT - 1)) -- \
        "${(@Q)words[1,CURRENT-1]}" "${(Q)PREFIX}" "${(@Q)words[CURRENT+1,-1]}" </dev/null 2>/dev/null)}")
    files=$answer[1]
    for line in "${(@)answer[2,-1]}"; do
        word=${line%%$'\t'*}
        # _describe reads a colon as the end of the word.
        line="${word//:/\\:}:${line#*$'\t'}"
        if [[ $word == *= ]]; then open+=("$line"); else closed+=("$line"); fi
    done
    (($#closed)) && _describe -V pathspider closed && found=0
    (($#open)) && _describe -V pathspider open -S '' && found=0
    [[ $files == none || -z $files ]] && return found
    [[ $PREFIX == --*=* ]] && compset -P '*='
    case $files in
        any) _files && found=0 ;;
        folders) _files -/ && found=0 ;;
        *) _files -g "*.$files" && found=0 ;;
    esac
    return found
}
if [[ $funcstack[1] == _pathspider ]]; then
    _pathspider "$@"
else
    compdef _pathspider pathspider
fi
