# Texts that a program carries in itself: cmake -DOUTPUT=x.cpp -DNAME=function -DFOLDER=dir -DPATTERN=*.sql -P EmbedFiles.cmake
# writes a function `sync_engine::NAME()` that returns each file's name and text, in the order of the names.
file(GLOB files "${FOLDER}/${PATTERN}")
list(SORT files)
set(entries "")
foreach(path IN LISTS files)
    get_filename_component(file_name "${path}" NAME)
    file(READ "${path}" text)
    # Compilers bound the length of one literal; adjacent ones are joined.
    string(LENGTH "${text}" length)
    set(literals "")
    set(at 0)
    while(at LESS length)
        string(SUBSTRING "${text}" ${at} 12000 part)
        string(APPEND literals "R\"__embedded__(${part})__embedded__\"\n")
        math(EXPR at "${at} + 12000")
    endwhile()
    string(APPEND entries "        {\"${file_name}\",\n${literals}},\n")
endforeach()
file(WRITE "${OUTPUT}.new" "#include \"gateway/api/embedded_texts.hpp\"

namespace sync_engine {

const std::vector<EmbeddedText>& ${NAME}() {
    static const std::vector<EmbeddedText> texts{
${entries}    };
    return texts;
}

}  // namespace sync_engine
")
file(RENAME "${OUTPUT}.new" "${OUTPUT}")
